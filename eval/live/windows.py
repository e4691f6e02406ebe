"""A log's course over time in a fixed number of windows, which widen as the log grows."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from eval.live.read import Batch
from eval.live.sketch import QuantileSketch
from eval.schema.live import Window

MOST = 48
NARROWEST = 60.0  # seconds
COARSE = 0.01  # relative error of a window's times: 2 % wide bins, 8 kB each


@dataclass
class _Cell:
    lines: int = 0
    failed: int = 0
    flagged: int = 0
    latency: QuantileSketch = field(default_factory=lambda: QuantileSketch(COARSE))

    def merge(self, other: _Cell) -> None:
        self.lines, self.failed = self.lines + other.lines, self.failed + other.failed
        self.flagged += other.flagged
        self.latency.merge(other.latency)


class Windows:
    """At most 48 windows of equal width, a minute at first; where more would be needed the width doubles."""

    CELL_BYTES = QuantileSketch(COARSE).counts.nbytes
    """Of one window; all of them are of one size."""

    def __init__(self) -> None:
        self.seconds = NARROWEST
        self._cells: dict[int, _Cell] = {}

    @property
    def state_bytes(self) -> int:
        """Memory of the counts."""
        return len(self._cells) * self.CELL_BYTES

    def add(self, batch: Batch) -> None:
        """The lines of a batch, each to its window; they need not be in order."""
        place = np.floor(batch.seconds / self.seconds).astype(np.int64)
        while len(set(self._cells) | set(place.tolist())) > MOST:
            self._widen()
            place = np.floor(batch.seconds / self.seconds).astype(np.int64)
        for key in np.unique(place).tolist():
            here = place == key
            cell = self._cells.setdefault(key, _Cell())
            cell.lines += int(here.sum())
            cell.failed += int(batch.failed[here].sum())
            cell.flagged += int(batch.flagged[here].sum())
            cell.latency.add(batch.latency_ms[here & ~batch.failed])

    def _widen(self) -> None:
        self.seconds *= 2
        wider: dict[int, _Cell] = {}
        for key, cell in self._cells.items():
            wider.setdefault(key // 2, _Cell()).merge(cell)
        self._cells = wider

    def values(self) -> tuple[Window, ...]:
        """The windows that hold a line, by time."""
        return tuple(
            Window(
                start=moment(key * self.seconds),
                lines=cell.lines,
                failed=cell.failed,
                flagged=cell.flagged,
                p95_ms=cell.latency.quantile(0.95) if len(cell.latency) else None,
            )
            for key, cell in sorted(self._cells.items())
        )


def moment(seconds: float) -> str:
    """Seconds since 1970 as ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
