"""Differences of two independent logs, with intervals, p-values and what each log adds to the uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.live.rates import DRAWS, Estimate
from eval.live.sketch import QuantileSketch
from eval.metrics import percentile_interval, wilson
from eval.schema import Interval

REPEATS = 1000


@dataclass(frozen=True)
class Difference:
    """The second log's figure minus the first's."""

    value: float
    interval: Interval
    """95 %."""
    p_value: float
    """Two-sided, of no difference."""
    variances: tuple[float, float]
    """Of each log's own figure, at its present size."""


def of_quantiles(first: QuantileSketch, second: QuantileSketch, share: float, seed: int) -> Difference:
    """Of a quantile of the latencies: bootstrap of both logs, the sketches' errors added to every end.

    The p-value is twice the share of resamples on the other side of 0, or nearer to it than those errors, counting the
    observation as one more (Davison and Hinkley 1997, section 4.2).
    """
    generator = np.random.default_rng(seed)
    one, other = (sketch.resampled(share, REPEATS, generator) for sketch in (first, second))
    before, after = first.quantile(share), second.quantile(share)
    error = (first.relative_error * before + second.relative_error * after) * (1 + 1e-9)  # rounding
    low, high = percentile_interval(other - one)
    value = after - before
    variances = float(one.var()), float(other.var())
    return Difference(value, (low - error, high + error), _p_value(other - one, value, error), variances)


def of_rates(first: Estimate, second: Estimate, seed: int) -> Difference | None:
    """Of an error rate; None where either log does not say it.

    Where both are counted: Newcombe's interval (Statistics in Medicine 17, 1998, method 10) and Fisher's exact test.
    Else from draws of both.
    """
    before, after = first.share.value, second.share.value
    if before is None or after is None:
        return None
    if first.draws is None and second.draws is None:
        counts = (first.wrong, first.total), (second.wrong, second.total)
        variances = (before * (1 - before) / first.total, after * (1 - after) / second.total)
        return Difference(after - before, newcombe(*counts), fisher(*counts), variances)
    generator = np.random.default_rng(seed)
    one, other = (_draws(estimate, generator) for estimate in (first, second))
    # Each log's draws come from its own posterior, so they are paired at random.
    gaps = generator.permutation(other) - one
    variances = (float(one.var()), float(other.var()))
    low, high = percentile_interval(gaps)
    value = after - before
    return Difference(value, (min(low, value), max(high, value)), _p_value(gaps, value, 0.0), variances)


def newcombe(first: tuple[int, int], second: tuple[int, int]) -> Interval:
    """95 % interval of the second share minus the first, each (k, n), from their Wilson intervals."""
    before, after = first[0] / first[1], second[0] / second[1]
    (low_a, high_a), (low_b, high_b) = wilson(*first), wilson(*second)
    gap = after - before
    return gap - math.hypot(after - low_b, high_a - before), gap + math.hypot(high_b - after, before - low_a)


def fisher(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Exact two-sided p-value that two shares, each (k, n), are one (Fisher 1935)."""
    from scipy.stats import fisher_exact

    return float(fisher_exact([[k, n - k] for k, n in (first, second)]).pvalue)


def _draws(estimate: Estimate, generator: np.random.Generator) -> NDArray[np.float64]:
    if estimate.draws is not None:
        return estimate.draws
    return generator.beta(estimate.wrong + 0.5, estimate.total - estimate.wrong + 0.5, DRAWS)


def _p_value(gaps: NDArray[np.float64], observed: float, error: float) -> float:
    beyond = len(gaps) if observed == 0 else int(np.sum(gaps * np.sign(observed) <= error))
    return min(2 * (1 + beyond) / (1 + len(gaps)), 1.0)
