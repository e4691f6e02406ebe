"""The one evaluator: measures any checkpoint through the classifier's interface and returns a frozen report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.errors import UserError
from core.provenance import hardware, timestamp
from core.rows import Rows
from core.schema import Evaluation
from eval.latency import Latency, Timed
from eval.latency import measure as measure_latency
from eval.metrics import Confusion, auroc, average_precision, confusion, expected_calibration_error, macro_f1
from eval.resources import Resources, model_size_mb
from eval.resources import measure as measure_resources
from eval.schema import SYNTHETIC, Accuracy, Family, Hardware, Intervals, Report
from eval.targets import verdict

# The operating point is built into the head, so every consumer's 0.5 is the right threshold.
DECISION = 0.5
SUBFAMILY_MINIMUM_ROWS = 20
LENGTH_BOUNDS = (64, 256, 1024, 4096)  # characters, the last of each bucket


class Predictions(Protocol):
    """What a classifier says of n texts."""

    @property
    def attack_probability(self) -> NDArray[np.float64]: ...  # (n,)

    @property
    def family(self) -> tuple[str, ...]: ...  # n, the benign family where the decision is benign

    @property
    def subfamily(self) -> tuple[str, ...]: ...  # n, the benign sub-family where the decision is benign


class Classifier(Timed, Protocol):
    """What the evaluator knows of a checkpoint."""

    @property
    def model_id(self) -> str: ...

    @property
    def precision(self) -> str: ...

    @property
    def folder(self) -> Path: ...

    def classify(self, texts: Sequence[str], batch_size: int = 32) -> Predictions: ...


def evaluate(
    pipeline: Classifier,
    rows: Rows,
    evaluation: Evaluation,
    *,
    split: str,
    synthetic: bool,
    provenance: Mapping[str, Any],
    seed: int,
) -> Report:
    """Classify the rows, time single calls, measure the folder in its own process, judge; writes nothing.

    Accuracy is computed on all cores, the clock runs on `evaluation.threads`. UserError: rows of one class only,
    NaN scores, a folder that cannot be opened.
    """
    cores = int(hardware()["cores"])
    pipeline.use_threads(cores)
    predictions = pipeline.classify(rows.texts)
    timed = measure_latency(
        pipeline, rows.texts, evaluation.latency_calls, evaluation.warmup_calls, evaluation.threads, seed
    )
    pipeline.use_threads(cores)  # torch's thread count is the process's: what runs next wants them all
    return accuracy_report(
        pipeline.model_id,
        pipeline.folder,
        rows,
        predictions,
        evaluation,
        split=split,
        synthetic=synthetic,
        provenance=provenance,
        precision=pipeline.precision,
        latency=timed,
        resources=measure_resources(pipeline.folder, rows.texts, evaluation.threads),
    )


def accuracy_report(
    model_id: str,
    folder: Path,
    rows: Rows,
    predictions: Predictions,
    evaluation: Evaluation,
    *,
    split: str,
    synthetic: bool,
    provenance: Mapping[str, Any],
    precision: str | None = None,
    latency: Latency | None = None,
    resources: Resources | None = None,
) -> Report:
    """The report on predictions already made; alone (a step checkpoint) it holds no latency and only the size."""
    right, said = accuracy(rows.labels, rows.families, rows.subfamilies, predictions), decisions(predictions)
    used = resources or Resources(model_size_mb(folder))
    return Report(
        model_id=model_id,
        timestamp=timestamp(),
        split=split,
        rows=len(rows),
        synthetic=SYNTHETIC if synthetic else None,
        hardware=Hardware.model_validate(hardware()),
        precision=precision,
        latency=latency,
        accuracy=right,
        resources=used,
        targets=evaluation.targets,
        meets_targets=verdict(
            evaluation.targets,
            right.binary_f1,
            right.false_positive_rate,
            latency.p95_ms if latency else None,
            used.model_size_mb,
        ),
        per_family=per_family(rows, said),
        per_length_bucket=per_length_bucket(rows, said),
        provenance=dict(provenance),
    )


def accuracy(
    labels: ArrayLike, families: Sequence[str], subfamilies: Sequence[str], predictions: Predictions
) -> Accuracy:
    """Everything that labels (n,) and predictions (n) say, end to end. UserError: one class only, NaN scores."""
    probability = predictions.attack_probability
    matrix = confusion(labels, decisions(predictions))
    family_f1 = macro_f1(families, predictions.family)
    if family_f1 is None:
        raise UserError("there is no row to measure accuracy on")
    return Accuracy(
        binary_f1=matrix.f1,
        binary_precision=matrix.precision,
        binary_recall=matrix.recall,
        family_f1=family_f1,
        subfamily_f1=macro_f1(subfamilies, predictions.subfamily, SUBFAMILY_MINIMUM_ROWS),
        false_positive_rate=matrix.false_positive_rate,
        false_negative_rate=matrix.false_negative_rate,
        auroc=auroc(labels, probability),
        average_precision=average_precision(labels, probability),
        expected_calibration_error=expected_calibration_error(labels, probability),
        confusion_matrix=matrix,
        intervals=Intervals.of(matrix),
    )


def decisions(predictions: Predictions) -> NDArray[np.bool_]:
    """Attack or benign, (n,). UserError: a probability is NaN, which would silently count as benign."""
    if np.isnan(predictions.attack_probability).any():
        raise UserError(f"{int(np.isnan(predictions.attack_probability).sum())} attack probabilities are NaN")
    return predictions.attack_probability >= DECISION


def per_family(rows: Rows, said: NDArray[np.bool_]) -> dict[str, Family]:
    """Rows of each family and how many of their attack/benign decisions are right; `said` is (n,)."""
    families, right = np.asarray(rows.families, dtype=str), rows.labels.astype(bool) == said
    found = {}
    for name in np.unique(families):
        here = right[families == name]
        found[str(name)] = Family(rows=len(here), correct=int(here.sum()), recall=float(here.mean()))
    return found


def per_length_bucket(rows: Rows, said: NDArray[np.bool_]) -> dict[str, Confusion]:
    """The decisions (n,) counted by characters of the text; every bucket is there, even an empty one."""
    bucket = np.searchsorted(LENGTH_BOUNDS, [len(text) for text in rows.texts])  # (n,)
    lows = (0, *(bound + 1 for bound in LENGTH_BOUNDS))
    names = [f"{low}-{high}" for low, high in zip(lows, LENGTH_BOUNDS, strict=False)] + [f"{lows[-1]}+"]
    return {name: confusion(rows.labels[bucket == index], said[bucket == index]) for index, name in enumerate(names)}
