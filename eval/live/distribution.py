"""A stream's distribution: exact cumulative shares at every value of a reference, in memory of the reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.errors import UserError


class Distribution:
    """Counts of values between and at the distinct values of a reference.

    The largest gap between two cumulative shares lies at or just below a reference value, so these counts give
    Kolmogorov and Smirnov's distance exactly, however long the stream is.
    """

    def __init__(self, reference: ArrayLike) -> None:
        self.points = np.unique(np.asarray(reference, dtype=np.float64))  # (k,)
        if not len(self.points) or not np.isfinite(self.points).all():
            raise UserError("a distribution needs finite reference values, at least one")
        self.counts = np.zeros(2 * len(self.points) + 1, dtype=np.int64)
        """(2k + 1,): below the first point, at it, between it and the second, at the second, …"""

    def add(self, values: ArrayLike) -> None:
        """Values (n,) of the stream."""
        self.counts += self.count(values)

    def count(self, values: ArrayLike) -> NDArray[np.int64]:
        """How many of `values` (n,) lie in each cell, (2k + 1,)."""
        given = np.asarray(values, dtype=np.float64)
        place = np.searchsorted(self.points, given, "left") + np.searchsorted(self.points, given, "right")
        return np.bincount(place, minlength=len(self.counts))

    def at(self, cell: int) -> float:
        """The reference value at or just above a cell; the last one for what lies above all."""
        return float(self.points[min(cell // 2, len(self.points) - 1)])


@dataclass(frozen=True, eq=False)
class Reference:
    """Cells of the evaluation's rows, apart by label."""

    attacks: NDArray[np.int64]  # (2k + 1,)
    benign: NDArray[np.int64]

    @classmethod
    def of(cls, distribution: Distribution, values: ArrayLike, labels: NDArray[np.int64]) -> Reference:
        """The rows whose values the distribution was made from."""
        given = np.asarray(values, dtype=np.float64)
        return cls(distribution.count(given[labels == 1]), distribution.count(given[labels == 0]))

    @property
    def mixed(self) -> bool:
        """Whether there are attacks and benign rows."""
        return bool(self.attacks.any() and self.benign.any())

    @property
    def rows(self) -> int:
        return int(self.attacks.sum() + self.benign.sum())

    @property
    def attack_share(self) -> float:
        """Of these rows."""
        return float(self.attacks.sum() / self.rows)

    def shares(self, attack_share: float) -> NDArray[np.float64]:
        """Share of each cell if so many of the rows were attacks, (2k + 1,)."""
        parts = [cells / max(cells.sum(), 1) for cells in (self.attacks, self.benign)]
        return attack_share * parts[0] + (1 - attack_share) * parts[1]

    def resampled(self, generator: np.random.Generator) -> Reference:
        """As many attacks and benign rows drawn from these with replacement."""
        return Reference(*(redrawn(cells, generator) for cells in (self.attacks, self.benign)))


def redrawn(cells: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
    """As many draws from these cells, with replacement, (2k + 1,)."""
    total = int(cells.sum())
    return generator.multinomial(total, cells / total) if total else cells
