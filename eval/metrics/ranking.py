"""How well scores rank attacks above benign texts, whatever the threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval.metrics.checks import both_classes

Curve = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Chance that an attack scores above a benign row, ties counting half (Mann-Whitney U)."""
    caught, alarms, _ = _at_thresholds(*both_classes(labels, scores))
    above = caught - np.diff(caught, prepend=0) / 2  # attacks above each distinct score, half of those at it
    return float(np.sum(np.diff(alarms, prepend=0) * above) / (caught[-1] * alarms[-1]))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Sum over falling thresholds of the recall gained times the precision there; equal scores are one threshold."""
    caught, alarms, _ = _at_thresholds(*both_classes(labels, scores))
    return float(np.sum(np.diff(caught, prepend=0) * caught / (caught + alarms)) / caught[-1])


def recall_at_fpr(labels: ArrayLike, scores: ArrayLike, rate: float = 0.01) -> float:
    """The highest recall among thresholds that flag at most `rate` of these very benign rows; 0 where none does.

    A property of the ranking, not of an operating point: the threshold is chosen on the rows it is judged on.
    """
    caught, alarms, _ = _at_thresholds(*both_classes(labels, scores))
    within = caught[alarms <= allowed_alarms(alarms[-1], rate)]
    return float(within[-1] / caught[-1]) if len(within) else 0.0


def roc_curve(labels: ArrayLike, scores: ArrayLike) -> Curve:
    """False-positive rate, recall and threshold (points,), decision `score >= threshold`, thresholds falling.

    Starts at (0, 0) with the threshold inf, ends at (1, 1) with the lowest score; equal scores are one point.
    Equal to scikit-learn's with `drop_intermediate=False`.
    """
    caught, alarms, thresholds = _at_thresholds(*both_classes(labels, scores))
    start = np.zeros(1)
    return (
        np.concatenate([start, alarms / alarms[-1]]),
        np.concatenate([start, caught / caught[-1]]),
        np.concatenate([[np.inf], thresholds]),
    )


def precision_recall_curve(labels: ArrayLike, scores: ArrayLike) -> Curve:
    """Precision and recall (points + 1,) and threshold (points,), decision `score >= threshold`, thresholds rising.

    Starts at recall 1 with the lowest score; after the highest score comes the point precision 1, recall 0, which has
    no threshold: nothing is flagged there. Equal scores are one point. Equal to scikit-learn's.
    """
    caught, alarms, thresholds = _at_thresholds(*both_classes(labels, scores))
    precision, recall = caught / (caught + alarms), caught / caught[-1]
    return np.append(precision[::-1], 1.0), np.append(recall[::-1], 0.0), thresholds[::-1]


def falling(values: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The order (n,) that makes the values fall, and where in it the last of each run of equal values stands."""
    order = np.argsort(-values, kind="stable")
    return order, np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)


def allowed_alarms(benign: ArrayLike, rate: float) -> NDArray[np.int64]:
    """The most false positives among so many benign rows that are at most `rate` of them; 0.29 of 100 is 29."""
    return np.floor(rate * np.asarray(benign) + 1e-9).astype(np.int64)


def _at_thresholds(
    truth: NDArray[np.bool_], values: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Attacks and benign rows at or above each distinct score, and these scores, falling; each (distinct,)."""
    order, last = falling(values)
    caught = np.cumsum(truth[order], dtype=np.int64)[last]
    return caught, last + 1 - caught, values[order][last]
