"""From kept predictions and timed calls to the report: pure arithmetic, so that anyone can compute it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.rows import Rows
from core.schema import Evaluation
from eval import slices
from eval.accuracy import accuracy, decisions, sensitivity
from eval.clock import latency
from eval.kept import Kept
from eval.schema import (
    SYNTHETIC,
    Accuracy,
    Grid,
    Hardware,
    Latency,
    Overlap,
    Report,
    Resources,
    Threshold,
    Throughput,
)
from eval.targets import judgements


@dataclass(frozen=True)
class Measured:
    """What a report holds that cannot be computed from the kept predictions and calls."""

    model_id: str
    timestamp: str
    hardware: Hardware
    split: str
    synthetic: bool
    provenance: Mapping[str, Any]
    resources: Resources
    precision: str | None = None
    grid: Grid | None = None
    throughput: Throughput | None = None
    threshold: Threshold | None = None
    overlap: Overlap | None = None

    @classmethod
    def of(cls, report: Report) -> Measured:
        """What was measured for a report that is there already."""
        same = ("model_id", "timestamp", "hardware", "split", "provenance", "resources", "precision")
        more = ("grid", "throughput", "threshold", "overlap")
        fields = {name: getattr(report, name) for name in (*same, *more)}
        return cls(synthetic=report.synthetic is not None, **fields)


def judge(kept: Kept, measured: Measured, evaluation: Evaluation, seed: int) -> Report:
    """The report: the same kept data, measurements, targets and seed give the same report.

    UserError: no row, NaN scores, predictions that do not go with the rows.
    """
    rows, said = kept.rows, kept.predictions
    right = accuracy(rows, said, evaluation.bootstrap_repeats, seed)
    decided = decisions(said)
    timed = latency.figures(kept.calls) if kept.calls is not None else None
    judged = judgements(evaluation.targets, right, timed, measured.resources)
    return Report(
        model_id=measured.model_id,
        timestamp=measured.timestamp,
        split=measured.split,
        rows=len(rows),
        synthetic=SYNTHETIC if measured.synthetic else None,
        hardware=measured.hardware,
        precision=measured.precision,
        latency=timed,
        grid=measured.grid,
        throughput=measured.throughput,
        accuracy=right,
        resources=measured.resources,
        targets=evaluation.targets,
        judgements=judged,
        meets_targets={name: judgement.met for name, judgement in judged.items()},
        per_family=slices.by_family(rows, decided),
        per_source=slices.by_source(rows, decided),
        per_length_bucket=slices.by_length(rows, decided),
        per_script=slices.by_script(rows, decided),
        sensitivity=sensitivity(rows, said),
        threshold=measured.threshold,
        overlap=measured.overlap,
        notes=tuple(notes(rows, right, timed, measured)),
        provenance=dict(measured.provenance),
    )


def notes(rows: Rows, right: Accuracy, timed: Latency | None, measured: Measured) -> list[str]:
    """What a reader must know before believing a figure, a sentence each."""
    found = []
    if right.binary_recall is None:
        found.append("The set holds no attack: only the false-positive rate and calibration can be said of it.")
    if right.false_positive_rate is None:
        found.append("The set holds no benign text: only recall and calibration can be said of it.")
    if timed is not None and (repeats := latency.repeats_sentence(timed.texts, timed.calls)):
        found.append(repeats)
    if timed is not None and not timed.noise.trusted:
        found.append(f"Latency: {timed.noise.sentence}")
    if (shared := measured.overlap) is not None:
        if shared.near:
            found.append(
                f"{shared.near:,} of {len(rows):,} texts have a near-duplicate among the training rows"
                f" (similarity at least {shared.near_similarity:g}): the figures flatter new texts."
            )
        if shared.same_training_rows is False:
            found.append("The checkpoint names other training rows than this configuration: the overlap is of these.")
    elif measured.precision is not None:
        found.append("No training rows were given (`data.train`): whether the model has seen these texts is unknown.")
    if measured.threshold is None and measured.precision is not None:
        found.append("The checkpoint does not say where its threshold comes from.")
    if one_label := _sources_of_one_label(rows):
        found.append(
            f"{one_label} of {len(set(rows.sources))} sources hold one label only: a classifier that tells sources"
            " apart would look good here (see the leave-one-source-out figures)."
        )
    if (measured.provenance.get("git") or {}).get("dirty"):
        found.append("The code had uncommitted changes: its commit does not repeat this report.")
    return found


def _sources_of_one_label(rows: Rows) -> int:
    if len(set(rows.labels.tolist())) < 2:
        return 0
    sources = np.asarray(rows.sources, dtype=str)
    return sum(len(set(rows.labels[sources == name].tolist())) == 1 for name in np.unique(sources))
