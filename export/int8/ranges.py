"""From the values that a tensor takes on texts to the range that eight bits render with the least error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.activation_ranges import Scale, unsigned
from core.errors import UserError

BINS = 1 << 14
SHARES = np.linspace(1.0, 0.1, 46)  # of an end that a range may keep
LEVELS = 255  # of UINT8, above 0


class Histogram:
    """How often values occur, over -limit … limit; the limit doubles when a larger value comes."""

    def __init__(self, limit: float = 1.0) -> None:
        self.limit = limit
        self.counts = np.zeros(BINS, np.int64)

    def add(self, values: NDArray[np.float32]) -> None:
        """Values of any shape; UserError where one is not finite."""
        largest = float(np.abs(values).max(initial=0.0))
        if not np.isfinite(largest):
            raise UserError("the model gives NaN or infinite values on a training text: export one that is whole")
        while largest >= self.limit:
            self._double()
        places = (values.ravel() + self.limit) * (BINS / (2 * self.limit))
        self.counts += np.bincount(places.astype(np.int64).clip(0, BINS - 1), minlength=BINS)

    def centres(self) -> NDArray[np.float64]:
        """(bins,)"""
        places: NDArray[np.float64] = np.arange(BINS, dtype=np.float64) + 0.5
        return places * (2 * self.limit / BINS) - self.limit

    def _double(self) -> None:
        self.limit *= 2
        inner = self.counts.reshape(-1, 2).sum(1)
        self.counts = np.pad(inner, BINS // 4)


def best_scale(histogram: Histogram) -> Scale:
    """The UINT8 scale of least squared error over the histogram, by clipping either end in turn.

    A few values are many times as large as the others in MPNet and BERT alike (Bondarenko et al. 2021, arXiv
    2109.12948). To cut even one in ten thousand costs more than it gains, so the error decides and no percentile.
    """
    seen = np.flatnonzero(histogram.counts)
    if not len(seen):
        return unsigned(0.0, 0.0)
    values, weights = histogram.centres()[seen], histogram.counts[seen].astype(np.float64)
    low, high = lowest, highest = min(values[0], 0.0), max(values[-1], 0.0)
    for _ in range(2):
        high = min(highest * SHARES, key=lambda end: _error(values, weights, low, end))
        low = min(lowest * SHARES, key=lambda end: _error(values, weights, end, high))
    return unsigned(float(low), float(high))


def _error(values: NDArray[np.float64], weights: NDArray[np.float64], low: float, high: float) -> float:
    """Squared error of all values, rounded to the UINT8 of this range."""
    fixed = unsigned(low, high)
    integers = np.clip(np.rint(values / fixed.scale), -fixed.zero_point, LEVELS - fixed.zero_point)
    return float(weights @ np.square(integers * fixed.scale - values))
