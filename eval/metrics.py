"""Classification arithmetic in plain numpy: what is right, what is wrong, and where to put the threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.errors import UserError


@dataclass(frozen=True)
class Confusion:
    """Counts of a binary decision, attack being positive; every rate is derived and 0.0 where nothing was counted."""

    tp: int
    fp: int
    tn: int
    fn: int

    @property
    def rows(self) -> int:
        return self.tp + self.fp + self.tn + self.fn

    @property
    def precision(self) -> float:
        return _share(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        return _share(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        return _share(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def false_positive_rate(self) -> float:
        return _share(self.fp, self.fp + self.tn)

    @property
    def false_negative_rate(self) -> float:
        return _share(self.fn, self.fn + self.tp)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def confusion(labels: ArrayLike, decisions: ArrayLike) -> Confusion:
    """Count labels (n,) against decisions (n,), both 0/1 or bool. UserError: other values or unequal lengths."""
    truth, said = _binary(labels, "labels"), _binary(decisions, "decisions")
    _same_length(truth, said, "decisions")
    return Confusion(
        tp=int(np.sum(truth & said)), fp=int(np.sum(~truth & said)),
        tn=int(np.sum(~truth & ~said)), fn=int(np.sum(truth & ~said)),
    )  # fmt: skip


def macro_f1(true: Sequence[str], predicted: Sequence[str], minimum_rows: int = 1) -> float | None:
    """Unweighted mean F1 over the classes with at least `minimum_rows` rows in `true`; None if there is none.

    A prediction of a class that is not averaged still costs the true class its recall.
    """
    truth, said = np.asarray(true, dtype=str), np.asarray(predicted, dtype=str)
    _same_length(truth, said, "predicted classes")
    classes, counts = np.unique(truth, return_counts=True)
    kept = classes[counts >= max(minimum_rows, 1)]
    scores = [confusion(truth == name, said == name).f1 for name in kept]
    return float(np.mean(scores)) if scores else None


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Chance that an attack scores above a benign row, ties counting half (Mann-Whitney U from mid-ranks)."""
    truth, values = _both_classes(labels, scores)
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle_rank = (np.cumsum(counts) - (counts - 1) / 2)[place]  # (n,), from 1
    attacks = int(truth.sum())
    rank_sum = float(middle_rank[truth].sum()) - attacks * (attacks + 1) / 2
    return rank_sum / (attacks * (len(truth) - attacks))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Sum over falling thresholds of the recall gained times the precision there; equal scores are one threshold."""
    truth, values = _both_classes(labels, scores)
    order = np.argsort(-values, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    caught = np.cumsum(truth[order])[last_of_tie]
    gained = np.diff(caught, prepend=0) / truth.sum()
    return float(np.sum(gained * caught / (last_of_tie + 1)))


def threshold_at_fpr(
    labels: ArrayLike, scores: ArrayLike, max_false_positive_rate: float, safety_margin: float = 0.0
) -> float:
    """The lowest threshold, decision `score >= threshold`, with FPR < max_false_positive_rate * (1 - safety_margin).

    It stands midway between neighbouring distinct scores, so that rounding flips no decision. Where no score lies
    above it, it is midway to 1, or half a unit above scores that reach 1: valid, but it catches nothing here.
    UserError: NaN or infinite scores, no attack, no benign row.
    """
    truth, values = _both_classes(labels, scores)
    benign = np.sort(values[~truth])[::-1]
    limit = max_false_positive_rate * (1.0 - safety_margin) * len(benign)
    allowed = max(math.ceil(limit - 1e-9) - 1, 0)  # strictly below, and 0.01 * 0.8 * 1000 is 8 despite floats
    highest_refused = float(benign[min(allowed, len(benign) - 1)])
    top = 1.0 if highest_refused < 1.0 else highest_refused + 1.0
    neighbour = float(np.min(values[values > highest_refused], initial=np.inf))
    neighbour = top if neighbour == np.inf else neighbour
    middle = highest_refused + (neighbour - highest_refused) / 2
    return middle if middle > highest_refused else neighbour  # adjacent floats have no middle


def wilson(k: int, n: int) -> tuple[float, float]:
    """95 % score interval of a share k/n (Wilson 1927); (0, 1) where nothing was counted, which says nothing."""
    if not 0 <= k <= n:
        raise UserError(f"an interval needs 0 <= k <= n, not k={k} of n={n}")
    if n == 0:
        return 0.0, 1.0
    z = 1.959963984540054  # 97.5 % quantile of the normal distribution
    share, scale = k / n, 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # Exact at the ends, where floats would leave 1e-17 instead of 0.
    return (0.0 if k == 0 else max(centre - half, 0.0)), (1.0 if k == n else min(centre + half, 1.0))


def expected_calibration_error(labels: ArrayLike, probabilities: ArrayLike, bins: int = 10) -> float:
    """Mean distance between probability and share of attacks in equally wide bins, weighted by rows (Naeini 2015)."""
    truth, values = _both_classes(labels, probabilities)
    if values.min() < 0.0 or values.max() > 1.0:
        raise UserError(f"probabilities lie in 0 to 1, not in {values.min():g} to {values.max():g}")
    place = np.searchsorted(np.linspace(0.0, 1.0, bins + 1)[1:-1], values)
    gap = np.bincount(place, values - truth, minlength=bins)  # (bins,), summed differences
    return float(np.abs(gap).sum() / len(values))


def _binary(values: ArrayLike, name: str) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.ndim != 1 or not np.isin(array, (0, 1)).all():
        raise UserError(f"{name} must be one row of 0 and 1; got shape {array.shape} with {np.unique(array)[:5]}")
    return array.astype(bool)


def _same_length(first: NDArray, second: NDArray, name: str) -> None:
    if first.shape != second.shape:
        raise UserError(f"{first.shape[0]} labels do not go with {name} of shape {second.shape}")


def _both_classes(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    truth, values = _binary(labels, "labels"), np.asarray(scores, dtype=np.float64)
    _same_length(truth, values, "scores")
    if not np.isfinite(values).all():
        raise UserError(f"{int((~np.isfinite(values)).sum())} of {len(values)} scores are NaN or infinite")
    if truth.all() or not truth.any():
        missing = "attack" if not truth.any() else "benign row"
        raise UserError(f"there is no {missing} among {len(truth)} rows: this needs both attacks and benign rows")
    return truth, values
