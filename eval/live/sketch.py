"""Quantiles of a stream of any length in a fixed few kilobytes, each within a stated relative error."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.errors import UserError

LOWEST, HIGHEST = 1e-3, 1e6  # milliseconds: a microsecond to a quarter of an hour
RELATIVE_ERROR = 0.001
TOGETHER = 100  # resamples: a few megabytes


class QuantileSketch:
    """Counts in bins whose bounds grow by a constant factor (DDSketch: Masson, Rim and Lee, VLDB 12, 2019).

    Every quantile is within `relative_error` of the value that really has this rank, for any stream, as long as the
    value lies between a microsecond and 10^6 ms; what lies below or above counts as just there.
    """

    def __init__(self, relative_error: float = RELATIVE_ERROR) -> None:
        self.relative_error = relative_error
        self._growth = math.log((1 + relative_error) / (1 - relative_error))
        self.counts = np.zeros(math.ceil(math.log(HIGHEST / LOWEST) / self._growth) + 1, dtype=np.int64)

    def __len__(self) -> int:
        return int(self.counts.sum())

    def add(self, milliseconds: ArrayLike) -> None:
        """Values (n,), at least 0. UserError: NaN or a negative one."""
        values = np.asarray(milliseconds, dtype=np.float64)
        if not (values >= 0).all():
            raise UserError(f"times are numbers of at least 0, not {values[~(values >= 0)][0]:g}")
        place = np.ceil(np.log(np.clip(values, LOWEST, HIGHEST) / LOWEST) / self._growth).astype(np.int64)
        self.counts += np.bincount(np.minimum(place, len(self.counts) - 1), minlength=len(self.counts))

    def merge(self, other: QuantileSketch) -> None:
        """As if every value of the other had been added here."""
        self.counts += other.counts

    def at_rank(self, rank: int) -> float:
        """The value of that rank from 1, the smallest first. UserError: there are not so many."""
        if not 1 <= rank <= len(self):
            raise UserError(f"there is no value of rank {rank} among {len(self)}")
        return float(self._value(np.searchsorted(np.cumsum(self.counts), rank)))

    def quantile(self, share: float) -> float:
        """The value below which `share` of all lie: the order statistic of rank ceil(share * n)."""
        return self.at_rank(max(math.ceil(share * len(self) - 1e-9), 1))

    def interval(self, share: float) -> tuple[float, float]:
        """95 % interval of that quantile, from order statistics (as `metrics.quantile_interval`), error included."""
        from scipy.stats import binom  # takes a second to load

        total = len(self)
        low, high = int(binom.ppf(0.025, total, share)), int(binom.ppf(0.975, total, share)) + 1
        ends = self.at_rank(max(low, 1)), self.at_rank(min(high, total))
        return ends[0] * (1 - self.relative_error), ends[1] * (1 + self.relative_error)

    def resampled(self, share: float, repeats: int, generator: np.random.Generator) -> NDArray[np.float64]:
        """That quantile in resamples of the stream (Efron's bootstrap), (repeats,)."""
        there = np.flatnonzero(self.counts)
        total = len(self)
        rank = max(math.ceil(share * total - 1e-9), 1)
        found = np.empty(repeats, dtype=np.int64)
        for start in range(0, repeats, TOGETHER):
            part = slice(start, min(start + TOGETHER, repeats))
            drawn = generator.multinomial(total, self.counts[there] / total, size=part.stop - start)  # (part, bins)
            found[part] = there[np.argmax(np.cumsum(drawn, axis=1) >= rank, axis=1)]
        return self._value(found)

    def _value(self, place: ArrayLike) -> NDArray[np.float64]:
        """The value that no other of its bin is further from than the relative error."""
        upper = LOWEST * np.exp(np.asarray(place) * self._growth)
        return upper * (1 - self.relative_error)
