"""95 % intervals: what a figure could have been on other texts of the same kind, and what a set can prove."""

from __future__ import annotations

import bisect
import math

import numpy as np
from numpy.typing import ArrayLike

from core.errors import UserError

Z = 1.959963984540054  # 97.5 % quantile of the normal distribution


def wilson(k: int, n: int) -> tuple[float, float]:
    """95 % score interval of a share k/n (Wilson 1927); (0, 1) where nothing was counted, which says nothing."""
    if not 0 <= k <= n:
        raise UserError(f"an interval needs 0 <= k <= n, not k={k} of n={n}")
    if n == 0:
        return 0.0, 1.0
    share, scale = k / n, 1 + Z * Z / n
    centre = (share + Z * Z / (2 * n)) / scale
    half = Z / scale * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    # Exact at the ends, where floats would leave 1e-17 instead of 0.
    return (0.0 if k == 0 else max(centre - half, 0.0)), (1.0 if k == n else min(centre + half, 1.0))


def required_false_positives(benign: int, limit: float) -> int | None:
    """The most false positives in so many benign rows that still prove FPR < limit (Wilson's upper end below it).

    None: the set is too small, even no false positive proves nothing.
    """
    _a_share(limit)
    upper_end = lambda count: wilson(count, benign)[1]  # noqa: E731, rises with count
    proving = bisect.bisect_left(range(benign + 1), limit, key=upper_end)
    return proving - 1 if proving else None


def benign_needed(limit: float) -> int:
    """The fewest benign rows in which no false positive at all proves FPR < limit (Wilson's upper end below it)."""
    _a_share(limit)
    # Wilson's upper end of 0 in n is z^2 / (n + z^2).
    rows = max(math.floor(Z * Z * (1 - limit) / limit), 0)
    while wilson(0, rows)[1] >= limit:
        rows += 1
    return rows


def percentile_interval(values: ArrayLike) -> tuple[float, float]:
    """2.5 % and 97.5 % percentiles of a figure's bootstrap values (repeats,) (Efron 1979).

    NaN marks a resample in which the figure cannot be said; it is left out. UserError: no value is left.
    """
    sample = np.asarray(values, dtype=np.float64)
    known = sample[~np.isnan(sample)]
    if not len(known):
        raise UserError(f"none of {len(sample)} resamples gives a value: an interval needs at least one")
    low, high = np.percentile(known, (2.5, 97.5)).tolist()
    return low, high


def reflected_interval(values: ArrayLike, observed: float) -> tuple[float, float]:
    """The percentiles mirrored at the observed figure ("basic bootstrap", Davison and Hinkley 1997, section 5.2).

    For a share that resampling pushes one way: noise only ever adds to a mean distance, so the resamples of a
    calibration error lie above it as it lies above the truth; mirroring takes that off. Ends stay in 0 to 1 and
    enclose `observed`. UserError as `percentile_interval`.
    """
    low, high = percentile_interval(values)
    return max(min(2 * observed - high, observed), 0.0), min(max(2 * observed - low, observed), 1.0)


def f1_interval(tp: int, mistakes: int) -> tuple[float, float]:
    """Wilson's interval carried over to F1, which is 2s / (1 + s) of the share s = tp / (tp + mistakes).

    mistakes: false positives and false negatives. It knows no clusters, but unlike a bootstrap it stays honest where
    few mistakes or none were seen. UserError: a negative count.
    """
    low, high = wilson(tp, tp + mistakes)
    return 2 * low / (1 + low), 2 * high / (1 + high)


def quantile_interval(sample: ArrayLike, share: float) -> tuple[float, float]:
    """95 % interval of the quantile below which `share` of all draws fall, whatever their distribution.

    How many of n independent draws lie below the quantile is binomial, so two order statistics enclose it with at
    least 95 %, at most 2.5 % on either side (Conover 1999, section 3.2). Where the sample is too small for an end, its
    lowest or highest value stands in: then that end bounds nothing. UserError: no value, NaN, share outside 0 to 1.
    """
    from scipy.stats import binom  # takes a second to load, and whoever only reads reports does without

    _a_share(share)
    values = np.sort(np.asarray(sample, dtype=np.float64))
    if not len(values) or np.isnan(values).any():
        raise UserError(f"a quantile needs values without NaN, not these {len(values)}")
    low, high = int(binom.ppf(0.025, len(values), share)), int(binom.ppf(0.975, len(values), share)) + 1  # from 1
    return float(values[max(low, 1) - 1]), float(values[min(high, len(values)) - 1])


def _a_share(value: float) -> None:
    if not 0 < value < 1:
        raise UserError(f"a share strictly between 0 and 1 is needed, not {value:g}")
