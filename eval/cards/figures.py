"""A card's figures, copied from measured reports: tables with intervals, and the hub's front matter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from core.manifest import Manifest
from core.rows import Taxonomy
from eval.cards.measured import Measured

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

    from eval.schema import Report

FIGURES = {  # of a report, with what the hub calls the metric
    "binary_f1": ("F1", "f1"),
    "binary_precision": ("precision", "precision"),
    "binary_recall": ("recall", "recall"),
    "false_positive_rate": ("false positives", "false_positive_rate"),
    "family_f1": ("family F1", "f1"),
    "subfamily_f1": ("sub-family F1", "f1"),
}


class Subject(Protocol):
    """What a card is of: `export.layouts.Product` is one."""

    @property
    def name(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def checkpoint(self) -> Manifest: ...
    @property
    def source(self) -> Path: ...
    @property
    def taxonomy(self) -> Taxonomy: ...
    @property
    def measured(self) -> Measured | None: ...


def reports(product: Subject) -> tuple[Report, ...]:
    return product.measured.reports if product.measured else ()


def judged_model(measured: Measured, name: str) -> str:
    """Which model the figures are of: the front matter has no other place to say that it is not this very graph."""
    head = measured.headline
    return name if measured.own else f"{head.model_id} ({head.precision})"


def tables(product: Subject, described: Mapping[str, Any]) -> str:
    """Tables copied from the reports, and how this graph compares with what they judged."""
    parity = described.get("parity")
    compared = (
        f"Beside the PyTorch checkpoint, on {parity['texts']} validation texts: mean cosine"
        f" {parity['mean_cosine']:.4f}, worst {parity['worst_cosine']:.4f}, {parity['flips']} decisions differ."
        if parity
        else ""
    )
    if product.measured is None:
        return f"No measured report lay beside the checkpoint when this folder was made. {compared}".strip()
    head, own = product.measured.headline, product.measured.own
    judged = "this graph" if own else f"the checkpoint {judged_model(product.measured, '')}, not on this graph"
    lines = [f"Measured on {judged}; 95 % intervals in brackets. {compared}".strip(), ""]
    lines += [f"| set | rows | {' | '.join(name for name, _ in FIGURES.values())} |", "|---" * (len(FIGURES) + 2) + "|"]
    lines += [
        f"| {one.split} | {one.rows} | {' | '.join(_cell(one, key) for key in FIGURES)} |" for one in reports(product)
    ]
    if described.get("performance", {}).get("p95_latency_ms") is not None and head.latency is not None:
        lines += ["", _speed(head)]
    return "\n".join(lines)


def _cell(report: Report, key: str) -> str:
    value, interval = getattr(report.accuracy, key), getattr(report.accuracy.intervals, key)
    if value is None:
        return "–"
    return f"{value:.3f}" + (f" ({interval[0]:.3f}–{interval[1]:.3f})" if interval else "")


def _speed(report: Report) -> str:
    latency = report.latency
    assert latency is not None
    low, high = latency.intervals.p95_ms
    return (
        f"One text from string to decision on {report.hardware.cpu}, {latency.threads} thread(s): P50"
        f" {latency.p50_ms:.2f} ms, P95 {latency.p95_ms:.2f} ms ({low:.2f}–{high:.2f}). {latency.noise.sentence}"
    )


def results(product: Subject, report: Report) -> list[EvalResult]:
    """The report's figures for the front matter."""
    from huggingface_hub import EvalResult

    config = product.checkpoint.fields.get("provenance", {}).get("config") or {}
    name = config.get("name", product.checkpoint.name)
    values = {key: getattr(report.accuracy, key) for key in FIGURES}
    return [
        EvalResult(
            task_type="text-classification",
            dataset_type=name,
            dataset_name=f"{name}, {report.split}",
            dataset_split=report.split,
            metric_type=FIGURES[key][1],
            metric_name=FIGURES[key][0],
            metric_value=value,
        )
        for key, value in values.items()
        if value is not None
    ]
