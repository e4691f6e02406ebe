"""How figures vary over resampled near-duplicate clusters: every figure over all resamples at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.errors import UserError
from eval.metrics.calibration import bin_of
from eval.metrics.checks import binary, both_classes, probable, same_length
from eval.metrics.ranking import allowed_alarms, falling
from eval.metrics.resamples import Weights, parts_of, resample, same_rows, totals

__all__ = [
    "Figures",
    "Weights",
    "auroc",
    "average_precision",
    "brier_score",
    "expected_calibration_error",
    "f1",
    "false_positive_rate",
    "macro_f1",
    "precision",
    "recall",
    "recall_at_fpr",
    "resample",
]

Figures = NDArray[np.float64]  # (repeats,)


def f1(labels: ArrayLike, decisions: ArrayLike, weights: Weights) -> Figures:
    """F1 of the attacks in each resample; 0 where nothing was counted, like `Confusion.f1`."""
    tp, attacks, flagged, _ = _counts(labels, decisions, weights)
    return _share(2 * tp, attacks + flagged)


def precision(labels: ArrayLike, decisions: ArrayLike, weights: Weights) -> Figures:
    """Precision in each resample; 0 where nothing was flagged."""
    tp, _, flagged, _ = _counts(labels, decisions, weights)
    return _share(tp, flagged)


def recall(labels: ArrayLike, decisions: ArrayLike, weights: Weights) -> Figures:
    """Recall in each resample; 0 where there is no attack."""
    tp, attacks, _, _ = _counts(labels, decisions, weights)
    return _share(tp, attacks)


def false_positive_rate(labels: ArrayLike, decisions: ArrayLike, weights: Weights) -> Figures:
    """False-positive rate in each resample; 0 where there is no benign row."""
    tp, attacks, flagged, rows = _counts(labels, decisions, weights)
    return _share(flagged - tp, rows - attacks)


def macro_f1(true: Sequence[str], predicted: Sequence[str], weights: Weights, minimum_rows: int = 1) -> Figures:
    """`counts.macro_f1` in each resample, over the classes with at least `minimum_rows` of the original rows.

    A class that a resample holds no row of is left out of the mean there; NaN where it holds none of the classes.
    UserError: no class has so many rows.
    """
    truth, said = np.asarray(true, dtype=str), np.asarray(predicted, dtype=str)
    same_length(truth, said, "predicted classes")
    classes, counts = np.unique(truth, return_counts=True)
    kept = classes[counts >= max(minimum_rows, 1)]
    if not len(kept):
        raise UserError(f"no class has {minimum_rows} rows: macro F1 has nothing to average")
    is_true, is_said = truth[:, None] == kept, said[:, None] == kept  # (rows, classes)
    summed = totals(np.concatenate([is_true & is_said, is_true, is_said], axis=1), weights)
    right, there, named = np.split(summed, 3, axis=1)  # each (repeats, classes)
    return _ratio(_share(2 * right, there + named).sum(axis=1), (there > 0).sum(axis=1))


def auroc(labels: ArrayLike, scores: ArrayLike, weights: Weights) -> Figures:
    """`ranking.auroc` in each resample; NaN where a class is missing. UserError: the rows lack a class."""

    def figure(caught: NDArray[np.int32], alarms: NDArray[np.int32]) -> Figures:
        # Twice the attacks above each score plus those at it, times the benign rows at it: integers, hence exact.
        above = caught + np.pad(caught[:, :-1], ((0, 0), (1, 0)))
        wins = np.einsum("rt,rt->r", above, np.diff(alarms, axis=1, prepend=0), dtype=np.float64)
        return _ratio(wins, 2.0 * caught[:, -1] * alarms[:, -1])

    return _ranked(labels, scores, weights, figure)


def average_precision(labels: ArrayLike, scores: ArrayLike, weights: Weights) -> Figures:
    """`ranking.average_precision` in each resample; NaN where no attack is. UserError: the rows lack a class."""

    def figure(caught: NDArray[np.int32], alarms: NDArray[np.int32]) -> Figures:
        at_threshold = caught / np.maximum(caught + alarms, 1)  # nothing gained where nothing is flagged
        gained = np.einsum("rt,rt->r", np.diff(caught, axis=1, prepend=0), at_threshold)
        return _ratio(gained, caught[:, -1])

    return _ranked(labels, scores, weights, figure)


def recall_at_fpr(labels: ArrayLike, scores: ArrayLike, weights: Weights, rate: float = 0.01) -> Figures:
    """`ranking.recall_at_fpr` in each resample; NaN where no attack is. UserError: the rows lack a class."""

    def figure(caught: NDArray[np.int32], alarms: NDArray[np.int32]) -> Figures:
        within = alarms <= allowed_alarms(alarms[:, -1:], rate)
        return _ratio(np.max(caught * within, axis=1), caught[:, -1])

    return _ranked(labels, scores, weights, figure)


def expected_calibration_error(
    labels: ArrayLike, probabilities: ArrayLike, weights: Weights, bins: int = 10
) -> Figures:
    """`calibration.expected_calibration_error` in each resample. UserError: NaN, or outside 0 to 1."""
    truth, values = probable(labels, probabilities)
    gap = np.zeros((len(values), bins))
    gap[np.arange(len(values)), bin_of(values, bins)] = values - truth
    return _ratio(np.abs(totals(gap, weights)).sum(axis=1), weights.sum(axis=1))


def brier_score(labels: ArrayLike, probabilities: ArrayLike, weights: Weights) -> Figures:
    """`calibration.brier_score` in each resample. UserError: NaN, or outside 0 to 1."""
    truth, values = probable(labels, probabilities)
    return _ratio(totals(((values - truth) ** 2)[:, None], weights)[:, 0], weights.sum(axis=1))


def _counts(labels: ArrayLike, decisions: ArrayLike, weights: Weights) -> NDArray[np.float64]:
    """True positives, attacks, flagged rows and rows of each resample, (4, repeats)."""
    truth, said = binary(labels, "labels"), binary(decisions, "decisions")
    same_length(truth, said, "decisions")
    return totals(np.stack([truth & said, truth, said, np.ones_like(truth)], axis=1), weights).T


def _ranked(
    labels: ArrayLike,
    scores: ArrayLike,
    weights: Weights,
    figure: Callable[[NDArray[np.int32], NDArray[np.int32]], Figures],
) -> Figures:
    """`figure` of the attacks and of the benign rows at or above each distinct score, falling: (part, distinct)."""
    truth, values = both_classes(labels, scores)
    same_rows(weights, len(truth))
    order, last = falling(values)
    attack = truth[order].astype(np.uint8)
    found = np.zeros(len(weights))
    for part in parts_of(*weights.shape):
        times = weights[part][:, order]
        flagged, caught = np.cumsum(times, axis=1, dtype=np.int32), np.cumsum(times * attack, axis=1, dtype=np.int32)
        found[part] = figure(caught[:, last], (flagged - caught)[:, last])
    return found


def _share(part: NDArray, whole: NDArray) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros(whole.shape), where=whole > 0)


def _ratio(part: NDArray, whole: NDArray) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
