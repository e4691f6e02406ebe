"""Where to put the threshold: false-positive rate, best F1 or least cost, on validation rows only."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval.metrics.checks import both_classes


def threshold_at_fpr(
    labels: ArrayLike, scores: ArrayLike, max_false_positive_rate: float, safety_margin: float = 0.0
) -> float:
    """The lowest threshold, decision `score >= threshold`, with FPR < max_false_positive_rate * (1 - safety_margin).

    It stands midway between neighbouring distinct scores, so that rounding flips no decision. Where no score lies
    above it, it is midway to 1, or half a unit above scores that reach 1: valid, but it catches nothing here.
    UserError: NaN or infinite scores, no attack, no benign row.
    """
    truth, values = both_classes(labels, scores)
    benign = np.sort(values[~truth])[::-1]
    limit = max_false_positive_rate * (1.0 - safety_margin) * len(benign)
    allowed = max(math.ceil(limit - 1e-9) - 1, 0)  # strictly below, and 0.01 * 0.8 * 1000 is 8 despite floats
    return _just_above(float(benign[min(allowed, len(benign) - 1)]), values)


def threshold_at_best_f1(labels: ArrayLike, scores: ArrayLike) -> float:
    """The threshold with the highest F1, of equals the highest; placed and refusing like `threshold_at_fpr`."""
    truth, values = both_classes(labels, scores)
    caught, flagged = _flagged(truth, values)
    return _at_best(2 * caught / (flagged + truth.sum()), values)


def threshold_at_least_cost(
    labels: ArrayLike, scores: ArrayLike, false_positive_cost: float, false_negative_cost: float
) -> float:
    """The threshold with the least false_positive_cost * FP + false_negative_cost * FN, of equals the highest.

    Costs are in any one unit; only their ratio counts. Placed and refusing like `threshold_at_fpr`.
    """
    truth, values = both_classes(labels, scores)
    caught, flagged = _flagged(truth, values)
    return _at_best(caught * false_negative_cost - (flagged - caught) * false_positive_cost, values)


def _flagged(truth: NDArray[np.bool_], values: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Attacks caught and texts flagged at each distinct score taken as threshold, rising scores, and above them all."""
    distinct, place = np.unique(values, return_inverse=True)
    attacks = np.bincount(place, truth, minlength=len(distinct) + 1).astype(np.int64)
    texts = np.bincount(place, minlength=len(distinct) + 1)
    return attacks[::-1].cumsum()[::-1], texts[::-1].cumsum()[::-1]


def _at_best(gain: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """The threshold of the highest `gain`, one gain a distinct score (rising) and one for flagging nothing."""
    distinct = np.unique(values)
    best = len(gain) - 1 - int(np.argmax(gain[::-1]))  # of equals the highest threshold: fewer false positives
    if best == 0:  # flags every text
        return float(distinct[0]) - 0.5
    return _just_above(float(distinct[best - 1]), values)


def _just_above(refused: float, values: NDArray[np.float64]) -> float:
    """Midway between a score that must stay below the threshold and the next that may reach it."""
    top = 1.0 if refused < 1.0 else refused + 1.0
    neighbour = float(np.min(values[values > refused], initial=np.inf))
    neighbour = top if neighbour == np.inf else neighbour
    middle = refused + (neighbour - refused) / 2
    return middle if middle > refused else neighbour  # adjacent floats have no middle
