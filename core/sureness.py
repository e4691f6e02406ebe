"""How sure a layer must be to decide before the model, and the limits that follow from scores on labelled texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST = 1e-3
"""Log-odds that any verdict must have on its side: consumers look at 0.5."""


@dataclass(frozen=True)
class Setting:
    """How sure a layer must be."""

    benign_at: float
    """It calls a text benign whose log-odds are at most this …"""
    attack_at: float
    """… and an attack whose log-odds are at least this."""
    misses: float
    """Share of the attacks that it was allowed to call benign, where the two were chosen …"""
    alarms: float
    """… and share of the benign texts that it was allowed to call attacks."""

    def decides(self, log_odds: float, whole: bool) -> bool:
        """whole: the layer has read the text to its end. What stands behind can make an attack of it, not undo one."""
        return log_odds >= self.attack_at or (whole and log_odds <= self.benign_at)


def choose(
    log_odds: NDArray[np.float64],
    labels: NDArray[np.int64],
    misses: Sequence[float],
    alarms: Sequence[float],
    names: Sequence[str],
) -> dict[str, Setting]:
    """For each pair of shares the limits that give up no more attacks below and no more benign texts above."""
    attacks, benign = np.sort(log_odds[labels == 1]), np.sort(log_odds[labels == 0])[::-1]
    found = {}
    for name, miss, alarm in zip(names, misses, alarms, strict=True):
        below = np.nextafter(attacks[int(miss * len(attacks))], -np.inf)
        above = np.nextafter(benign[int(alarm * len(benign))], np.inf)
        found[name] = Setting(min(float(below), -LEAST), max(float(above), LEAST), miss, alarm)
    return found
