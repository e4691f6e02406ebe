"""Predictions against labels: the figures with their intervals and the reliability curve, and what each source does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError
from core.rows import Rows
from eval.figures import DECISION, SUBFAMILY_MINIMUM_ROWS, decisions, figures, resampled
from eval.kept import Predictions
from eval.metrics import (
    Confusion,
    bootstrap,
    confusion,
    f1_interval,
    percentile_interval,
    reflected_interval,
    reliability,
    wilson,
)
from eval.schema import Accuracy, Bin, Interval, Intervals, Sensitivity

__all__ = ["DECISION", "SUBFAMILY_MINIMUM_ROWS", "accuracy", "decisions", "sensitivity"]


def accuracy(rows: Rows, predictions: Predictions, repeats: int, seed: int) -> Accuracy:
    """All figures, end to end; None where the rows lack the class that a figure needs.

    repeats: resamples of the near-duplicate clusters behind the bootstrapped intervals; 0 leaves these None.
    UserError: no rows, predictions of another number of texts, NaN, infinite or impossible probabilities.
    """
    said = decisions(predictions)
    _fit(rows, predictions)
    matrix, found = confusion(rows.labels, said), figures(rows, predictions)
    intervals: dict[str, Interval | None] = dict.fromkeys(found)
    if repeats:
        weights = bootstrap.resample(rows.labels, rows.groups, repeats, seed)
        for name, values in resampled(rows, predictions, weights).items():
            intervals[name] = _bootstrapped(name, values, matrix, found[name])
    intervals |= {name: wilson(*counts) for name, counts in _shares(matrix).items() if found[name] is not None}
    bars = reliability(rows.labels, predictions.attack_probability)
    return Accuracy.model_validate(
        {
            **found,
            "confusion_matrix": matrix,
            "intervals": Intervals.model_validate(intervals),
            "reliability": tuple(Bin.model_validate(bar._asdict()) for bar in bars),
        }
    )


def sensitivity(rows: Rows, predictions: Predictions) -> dict[str, Sensitivity]:
    """How F1, recall, false-positive rate and AUROC move when one source is left out at a time, by figure.

    Sources without which a figure cannot be said (no attack or no benign row would be left) are skipped, and figures
    that every source is needed for, so that a single source gives {}. UserError: as `accuracy`.
    """
    labels, said, probability = rows.labels, decisions(predictions), predictions.attack_probability
    _fit(rows, predictions)
    sources, place = np.unique(np.asarray(rows.sources, dtype=str), return_inverse=True)
    kept = (place != np.arange(len(sources))[:, None]).astype(np.uint8)  # (sources, n): a resample each
    attacks = labels.sum() > np.bincount(place, labels)  # (sources,): whether any is left without it
    benign = (1 - labels).sum() > np.bincount(place, 1 - labels)
    found: dict[str, Sensitivity] = {}
    for name, sayable, values in (
        ("binary_f1", attacks & benign, lambda weights: bootstrap.f1(labels, said, weights)),
        ("binary_recall", attacks, lambda weights: bootstrap.recall(labels, said, weights)),
        ("false_positive_rate", benign, lambda weights: bootstrap.false_positive_rate(labels, said, weights)),
        ("auroc", attacks & benign, lambda weights: bootstrap.auroc(labels, probability, weights)),
    ):
        if sayable.any():
            found[name] = _extremes(values(kept[sayable]), sources[sayable])
    return found


def _extremes(values: NDArray[np.float64], without: NDArray[np.str_]) -> Sensitivity:
    lowest, highest = int(np.argmin(values)), int(np.argmax(values))
    return Sensitivity(
        lowest=float(values[lowest]),
        lowest_without=str(without[lowest]),
        highest=float(values[highest]),
        highest_without=str(without[highest]),
    )


def _bootstrapped(name: str, values: bootstrap.Figures, matrix: Confusion, observed: float | None) -> Interval:
    if name == "expected_calibration_error" and observed is not None:
        return reflected_interval(values, observed)
    low, high = percentile_interval(values)
    if name == "binary_f1":  # the targets judge it, and a set without a mistake would prove anything
        counted = f1_interval(matrix.tp, matrix.fp + matrix.fn)
        return min(low, counted[0]), max(high, counted[1])
    return low, high


def _shares(matrix: Confusion) -> dict[str, tuple[int, int]]:
    """The figures that are a share of counted rows: part and whole."""
    attacks, benign = matrix.tp + matrix.fn, matrix.fp + matrix.tn
    return {
        "binary_precision": (matrix.tp, matrix.tp + matrix.fp),
        "binary_recall": (matrix.tp, attacks),
        "false_positive_rate": (matrix.fp, benign),
        "false_negative_rate": (matrix.fn, attacks),
    }


def _fit(rows: Rows, predictions: Predictions) -> None:
    lengths = {len(column) for column in (predictions.attack_probability, predictions.family, predictions.subfamily)}
    if lengths != {len(rows)}:
        raise UserError(f"predictions of {sorted(lengths)} texts do not go with {len(rows)} rows: judge these rows")
    if not len(rows):
        raise UserError("there is no row to measure accuracy on")
