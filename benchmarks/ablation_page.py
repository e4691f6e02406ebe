"""The ablation's table: each student on validation, with its paired gain over the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported inside the functions, so that --help does not wait for the libraries
    from numpy.typing import NDArray

    from core.rows import Rows

REPEATS = 2000  # resamples of validation's clusters


@dataclass(frozen=True)
class Row:
    """One student on validation, at the threshold that its own validation chose."""

    name: str
    f1: float
    interval: tuple[float, float]
    false_positive_rate: float
    gain: float
    """F1 above the baseline's …"""
    gain_interval: tuple[float, float]
    """… with its paired 95 % interval."""


def judge(said: Mapping[str, NDArray], baseline: str, rows: Rows, seed: int) -> list[Row]:
    """said: whether each model flags each of `rows`, (rows,) bool.

    Figures with intervals over the same resamples of near-duplicate clusters, and each model against the baseline.
    """
    from eval.metrics import bootstrap, confusion, percentile_interval
    from eval.significance import paired_difference

    weights = bootstrap.resample(rows.labels, rows.groups, REPEATS, seed)
    resampled = {name: bootstrap.f1(rows.labels, flagged, weights) for name, flagged in said.items()}
    counted = {name: confusion(rows.labels, flagged) for name, flagged in said.items()}
    found = []
    for name, matrix in counted.items():
        gain = paired_difference(resampled[name], resampled[baseline], matrix.f1 - counted[baseline].f1)
        interval = percentile_interval(resampled[name])
        figures = (matrix.f1, interval, matrix.false_positive_rate, gain.value, gain.interval)
        found.append(Row(name, *figures))
    return found


def markdown(rows: Sequence[Row]) -> str:
    """The table."""
    lines = ["| losses | F1 (95 %) | FPR | gain over plain, paired (95 %) |", "| --- | --- | --- | --- |"]
    for row in rows:
        interval = f"{row.interval[0]:.3f}–{row.interval[1]:.3f}"
        gain = f"{row.gain:+.3f} ({row.gain_interval[0]:+.3f} to {row.gain_interval[1]:+.3f})"
        lines.append(f"| {row.name} | {row.f1:.3f} ({interval}) | {row.false_positive_rate:.4f} | {gain} |")
    return "\n".join(lines)
