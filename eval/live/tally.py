"""Everything that is kept of a log of any length: counts, a sketch of times, windows and distributions."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from eval.live.distribution import Distribution
from eval.live.read import Batch
from eval.live.sketch import QuantileSketch
from eval.live.windows import COARSE, Windows


class Tally:
    """Grows with the reference's rows, never with the log."""

    def __init__(self, scores: Distribution | None = None, lengths: Distribution | None = None) -> None:
        self.counts: NDArray[np.int64] = np.zeros((2, 3), dtype=np.int64)
        """Answered lines by decision (allowed, flagged) and label (unknown, benign, attack)."""
        self.failed = 0
        self.latency = QuantileSketch()
        self.characters = QuantileSketch(COARSE)
        self.slowest_ms = 0.0
        self.windows = Windows()
        self.first, self.last = np.inf, -np.inf
        self.scores, self.lengths = scores, lengths

    @property
    def answered(self) -> int:
        return int(self.counts.sum())

    @property
    def lines(self) -> int:
        return self.answered + self.failed

    @property
    def state_bytes(self) -> int:
        """Memory of the state itself."""
        distributions = [one.counts.nbytes for one in (self.scores, self.lengths) if one is not None]
        sketches = self.latency.counts.nbytes + self.characters.counts.nbytes
        return self.counts.nbytes + sketches + self.windows.state_bytes + sum(distributions)

    def add(self, batch: Batch) -> None:
        """One more batch of lines."""
        answered = ~batch.failed
        np.add.at(self.counts, (batch.flagged[answered].astype(np.int64), batch.label[answered]), 1)
        self.failed += int(batch.failed.sum())
        times = batch.latency_ms[answered]
        self.latency.add(times)
        self.slowest_ms = max(self.slowest_ms, float(times.max(initial=0.0)))
        self.characters.add(batch.characters)
        self.windows.add(batch)
        self.first = min(self.first, float(batch.seconds.min()))
        self.last = max(self.last, float(batch.seconds.max()))
        if self.scores is not None:
            self.scores.add(batch.probability[answered])
        if self.lengths is not None:
            self.lengths.add(batch.characters[answered].astype(np.float64))

    def add_all(self, batches: Iterable[Batch]) -> Tally:
        """Every batch; returns itself."""
        for batch in batches:
            self.add(batch)
        return self
