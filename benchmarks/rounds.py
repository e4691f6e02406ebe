"""Sides timed in turn, round after round, and how many times as fast the first is as another, with an interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from pydantic import Field
from scipy.stats import t as student_t
from tqdm import tqdm

from eval.clock.noise import noise, workload
from eval.schema import Interval, Noise, Value, Word

REFERENCE_RUNS = 25  # of the fixed workload between two timings: 100 in all even where there are few


class Timing(Value):
    """One repetition."""

    seconds: float = Field(gt=0)
    tokens: int = Field(gt=0)
    """Worked off in this time, padding not counted."""

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.tokens / self.seconds


class Side(Value):
    """One way to do the work, and its times, a round each."""

    name: str
    timings: tuple[Timing, ...] = Field(min_length=1)

    @property
    def rates(self) -> tuple[float, ...]:
        return tuple(timing.rate for timing in self.timings)


class Ratio(Value):
    """How many times as fast the first side is as this one."""

    against: str
    value: float
    """Geometric mean over the rounds."""
    interval: Interval
    """Student's t on the logarithms of the rounds' ratios."""
    target: float | None
    """What `value` should at least be; None: shown to be known, not aimed at."""
    verdict: Word | None
    """By the interval; None without a target."""


def in_turn(sides: Mapping[str, Callable[[], Timing]], rounds: int) -> tuple[tuple[Side, ...], Noise]:
    """Runs every side once a round, every other round backwards, so that a slow drift falls on all alike.

    Between two timings a fixed workload runs, by which the machine's own noise is judged.
    """
    found: dict[str, list[Timing]] = {name: [] for name in sides}
    reference, run = [], workload()
    names = list(sides)
    order = [name for number in range(rounds) for name in (names[::-1] if number % 2 else names)]
    for name in tqdm(order, desc="timing", unit="repetition"):
        reference += [run() for _ in range(REFERENCE_RUNS)]
        found[name].append(sides[name]())
    reference += [run() for _ in range(REFERENCE_RUNS)]
    return tuple(Side(name=name, timings=tuple(found[name])) for name in sides), noise(np.array(reference))


def ratio(first: Side, other: Side, target: float | None = None) -> Ratio:
    """From rounds paired in their order; ValueError with fewer than two, or unlike numbers of them."""
    if len(first.timings) != len(other.timings) or len(first.timings) < 2:
        raise ValueError(f"a ratio needs two paired rounds or more, not {len(first.timings)} and {len(other.timings)}")
    logarithms = np.log(first.rates) - np.log(other.rates)
    count, mean = len(logarithms), float(logarithms.mean())
    half = float(student_t.ppf(0.975, count - 1) * logarithms.std(ddof=1) / count**0.5)
    low, high = float(np.exp(mean - half)), float(np.exp(mean + half))
    return Ratio(
        against=other.name,
        value=float(np.exp(mean)),
        interval=(low, high),
        target=target,
        verdict=None if target is None else verdict((low, high), target),
    )


def verdict(interval: Interval, target: float) -> Word:
    """Met or missed only when the whole interval lies on that side of the least that is wanted."""
    low, high = interval
    return "met" if low >= target else "missed" if high < target else "undecided"
