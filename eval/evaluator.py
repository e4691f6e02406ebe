"""The one evaluator: measures any checkpoint through the classifier's interface and returns report and evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from core.provenance import hardware, timestamp
from core.rows import Rows
from core.schema import Evaluation
from eval import resources
from eval.clock import grid, latency, throughput
from eval.clock.racing import Runner
from eval.judge import Measured, judge
from eval.kept import Kept, Predictions
from eval.schema import Hardware, Overlap, Report, Threshold


class Classifier(grid.Timed, Runner, Protocol):
    """What the evaluator knows of a checkpoint."""

    def classify(self, texts: Sequence[str], batch_size: int = 32) -> Predictions: ...


@dataclass(frozen=True, eq=False)
class Outcome:
    """A report and what it rests on."""

    report: Report
    kept: Kept


def evaluate(
    pipeline: Classifier,
    rows: Rows,
    evaluation: Evaluation,
    *,
    synthetic: bool,
    provenance: Mapping[str, Any],
    seed: int,
    overlap: Overlap | None = None,
) -> Outcome:
    """Classify the rows, time single calls, measure the folder in a process of its own, judge; writes nothing.

    Accuracy is computed on all cores, the clock runs on `evaluation.threads`. UserError: NaN scores, a folder that
    cannot be opened.
    """
    machine = Hardware.model_validate(hardware())
    pipeline.use_threads(machine.cores)
    predictions = pipeline.classify(rows.texts)
    calls = table = saturated = None
    if evaluation.latency_calls:
        calls = latency.measure(
            pipeline, rows.texts, evaluation.latency_calls, evaluation.warmup_calls, evaluation.threads, seed
        )
        if evaluation.grid_seconds:
            table = grid.measure(pipeline, rows.texts, evaluation.grid_seconds, machine.cores, seed)
        if evaluation.throughput_seconds:
            saturated = throughput.measure(pipeline, rows.texts, evaluation.throughput_seconds, machine.cores, seed)
    pipeline.use_threads(machine.cores)  # torch's thread count is the process's: what runs next wants them all
    measured = Measured(
        model_id=pipeline.model_id,
        timestamp=timestamp(),
        hardware=machine,
        split=evaluation.split,
        synthetic=synthetic,
        provenance=provenance,
        resources=resources.measure(pipeline.folder, rows.texts, evaluation.threads),
        precision=pipeline.precision,
        grid=table,
        throughput=saturated,
        threshold=threshold_of(pipeline.described),
        overlap=overlap,
    )
    kept = Kept(rows, predictions, calls)
    return Outcome(judge(kept, measured, evaluation, seed), kept)


def threshold_of(described: Mapping[str, Any]) -> Threshold | None:
    """Where a manifest says that its operating point comes from; None where it does not."""
    point = described.get("operating_point") or {}
    if not point.get("origin"):
        return None
    return Threshold(value=point["threshold"], **point["origin"])
