"""Whether a probability means what it says."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval.metrics.checks import probable


class Bar(NamedTuple):
    """The rows whose probability p lies in low < p <= high (the first bar holds 0 too)."""

    low: float
    high: float
    rows: int
    mean_probability: float | None
    """None: no row."""
    attack_share: float | None
    """None: no row."""


def reliability(labels: ArrayLike, probabilities: ArrayLike, bins: int = 10) -> tuple[Bar, ...]:
    """`bins` equally wide bars of the reliability curve. UserError: NaN, or outside 0 to 1; one class will do."""
    truth, values = probable(labels, probabilities)
    place, edges = bin_of(values, bins), np.linspace(0.0, 1.0, bins + 1).tolist()
    rows = np.bincount(place, minlength=bins).tolist()  # (bins,)
    said, happened = (np.bincount(place, weights, minlength=bins) for weights in (values, truth))
    return tuple(
        Bar(edges[i], edges[i + 1], rows[i], float(said[i] / rows[i]), float(happened[i] / rows[i]))
        if rows[i]
        else Bar(edges[i], edges[i + 1], 0, None, None)
        for i in range(bins)
    )


def expected_calibration_error(labels: ArrayLike, probabilities: ArrayLike, bins: int = 10) -> float:
    """Mean distance between probability and share of attacks in equally wide bins, weighted by rows (Naeini 2015).

    UserError: NaN, or outside 0 to 1; one class will do.
    """
    truth, values = probable(labels, probabilities)
    gap = np.bincount(bin_of(values, bins), values - truth, minlength=bins)  # (bins,), summed differences
    return float(np.abs(gap).sum() / len(values))


def brier_score(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean squared distance between probability and label (Brier 1950). UserError: NaN, or outside 0 to 1."""
    truth, values = probable(labels, probabilities)
    return float(np.mean((values - truth) ** 2))


def bin_of(values: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """Which of `bins` equally wide bins of 0 to 1 each value (n,) falls into; an edge belongs to the bin below it."""
    return np.searchsorted(np.linspace(0.0, 1.0, bins + 1)[1:-1], values)
