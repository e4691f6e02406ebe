"""Lines of figures: accuracy, latency, the grid, memory, and where a report comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eval.pages.words import NONE, amount, share, size
from eval.schema import Cell, Grid, Latency, Percentiles, Report

WILSON, BOOTSTRAP = "Wilson", "bootstrap"
FIGURES = {
    "binary_f1": ("F1", BOOTSTRAP, "attack against benign"),
    "binary_precision": ("Precision", WILSON, "flagged texts that are attacks"),
    "binary_recall": ("Recall", WILSON, "attacks that are caught"),
    "false_positive_rate": ("False-positive rate", WILSON, "benign texts that are flagged"),
    "false_negative_rate": ("False-negative rate", WILSON, "attacks that are missed"),
    "family_f1": ("Family F1", BOOTSTRAP, "macro over all families, benign included, end to end"),
    "subfamily_f1": ("Sub-family F1", BOOTSTRAP, "macro over those with at least 20 rows, end to end"),
    "auroc": ("AUROC", BOOTSTRAP, "chance that an attack scores above a benign text"),
    "average_precision": ("Average precision", BOOTSTRAP, "area under precision and recall"),
    "recall_at_1_percent_fpr": (
        "Recall at 1 % FPR",
        BOOTSTRAP,
        "best threshold of these very rows: the ranking's room",
    ),
    "expected_calibration_error": ("Calibration error", BOOTSTRAP, "mean gap of probability and share of attacks"),
    "brier_score": ("Brier score", BOOTSTRAP, "mean squared gap of probability and label"),
}
PERCENTILES = {"p50_ms": "P50", "p90_ms": "P90", "p95_ms": "P95", "p99_ms": "P99", "max_ms": "Maximum"}


@dataclass(frozen=True)
class Figure:
    """One headline figure."""

    name: str
    value: str
    low: str
    high: str
    method: str
    meaning: str


def accuracy(report: Report) -> list[Figure]:
    """Every headline figure with its interval."""
    found = []
    for key, (name, method, meaning) in FIGURES.items():
        near = getattr(report.accuracy.intervals, key)
        low, high = (share(near[0]), share(near[1])) if near else ("", "")
        found.append(Figure(name, share(getattr(report.accuracy, key)), low, high, method if near else "", meaning))
    return found


def percentiles(latency: Latency) -> list[tuple[str, str, str]]:
    """Figure, milliseconds, 95 % interval."""
    lines = []
    for key, name in PERCENTILES.items():
        near = getattr(latency.intervals, key, None)
        lines.append((name, amount(getattr(latency, key)), f"{amount(near[0])} to {amount(near[1])}" if near else ""))
    return [*lines, ("Mean", amount(latency.mean_ms), ""), ("Standard deviation", amount(latency.std_ms), "")]


@dataclass(frozen=True)
class Segment:
    """A part of a bar."""

    name: str
    percent: float
    value: str
    colour: int
    """Place in the stylesheet's series of eight."""
    times: Percentiles | None = None


def stages(latency: Latency) -> list[Segment]:
    """Mean time by stage: means add up to the whole, percentiles would not."""
    whole = sum(stage.mean_ms for stage in latency.stages.values()) or 1.0
    return [
        Segment(name, 100 * stage.mean_ms / whole, f"{amount(stage.mean_ms)} ms", index % 8, stage)
        for index, (name, stage) in enumerate(latency.stages.items())
    ]


def bytes_by_group(report: Report) -> list[Segment]:
    """Bytes shipped by what they are for, most first."""
    groups = sorted(report.resources.bytes_by_group.items(), key=lambda item: -item[1])
    whole = sum(number for _, number in groups) or 1
    return [Segment(name, 100 * number / whole, size(number), i % 8) for i, (name, number) in enumerate(groups)]


@dataclass(frozen=True)
class Crossing:
    """The grid with lengths across and settings down."""

    lengths: list[str]
    lines: list[tuple[str, list[Cell | None]]]


def crossing(grid: Grid) -> Crossing:
    """Cells in the order in which they were measured."""
    lengths = list(dict.fromkeys(cell.tokens for cell in grid.cells))
    found: dict[tuple[int, int, str], dict[str, Cell]] = {}
    for cell in grid.cells:
        found.setdefault((cell.threads, cell.batch, cell.padding), {})[cell.tokens] = cell
    lines = [
        (
            f"{threads} thread{'s' * (threads > 1)}, batch {batch}, padding {padding}",
            [cells.get(length) for length in lengths],
        )
        for (threads, batch, padding), cells in found.items()
    ]
    return Crossing(lengths, lines)


def origin(report: Report) -> list[tuple[str, str]]:
    """What was measured on what; what the report does not know is said, not left out."""
    known, machine = report.provenance, report.hardware
    git, versions = _mapping(known.get("git")), _mapping(known.get("versions"))
    state = {True: ", with uncommitted changes", False: ", clean"}.get(git.get("dirty"), "")  # type: ignore[arg-type]
    command = known.get("command")
    return [
        ("Judged", report.timestamp),
        ("Processor", f"{machine.cpu}, {machine.cores} cores"),
        ("Instruction sets", " ".join(machine.cpu_flags) or NONE),
        ("Memory", f"{machine.memory_gb:g} GB"),
        ("System", machine.os),
        ("Commit", f"{git.get('commit') or 'not a checkout'}{state}"),
        ("Command", " ".join(map(str, command)) if isinstance(command, list | tuple) else str(command or NONE)),
        ("Seed", str(known.get("seed", NONE))),
        ("Configuration, SHA-256", str(known.get("config_hash", NONE))),
        *((f"Data: {name}", str(value)) for name, value in _mapping(known.get("fingerprints")).items()),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items() if version) or NONE),
    ]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
