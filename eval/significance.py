"""Whether two models judged on the same texts differ by more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from core.errors import UserError
from eval.metrics import percentile_interval


@dataclass(frozen=True)
class Difference:
    """How much the first model's figure lies above the second's."""

    value: float
    """On the rows themselves."""
    interval: tuple[float, float]
    """95 %, percentiles of the resamples."""
    p_value: float
    """Two-sided, of no difference."""


def mcnemar(only_first_right: int, only_second_right: int) -> float:
    """Exact two-sided p-value that both models are right equally often (McNemar 1947, binomial).

    Only the texts that one of the two gets wrong count. UserError: a negative count.
    """
    from scipy.stats import binomtest  # takes a second to load

    if min(only_first_right, only_second_right) < 0:
        raise UserError(f"counts of texts are not negative: got {only_first_right} and {only_second_right}")
    discordant = only_first_right + only_second_right
    return float(binomtest(only_first_right, discordant).pvalue) if discordant else 1.0


def paired_difference(first: ArrayLike, second: ArrayLike, observed: float) -> Difference:
    """What a paired bootstrap says of `first` minus `second`.

    first, second: a figure of the two models in the same resamples, (repeats,) each: both from one array of weights.
    observed: the first's figure minus the second's on the rows themselves.

    The p-value is twice the share of resamples whose difference is 0 or lies on the other side of it, counting the
    observation as one more of them (Davison and Hinkley 1997, section 4.2), at most 1. A resample in which either
    figure cannot be said (NaN) is left out. UserError: unlike lengths, or no resample is left.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != other.shape or one.ndim != 1:
        raise UserError(f"a paired bootstrap needs the same resamples of both, not {one.shape} and {other.shape}")
    gaps = (one - other)[~np.isnan(one - other)]
    beyond = len(gaps) if observed == 0 else int(np.sum(gaps * np.sign(observed) <= 0))
    p_value = min(2 * (1 + beyond) / (1 + len(gaps)), 1.0)
    return Difference(observed, percentile_interval(gaps), p_value)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """The p-values, in their order, adjusted for there being several of them (Holm 1979).

    Rejecting those at most 0.05 is wrong even once with probability at most 0.05. UserError: outside 0 to 1.
    """
    raw = np.asarray(p_values, dtype=np.float64)
    if not ((raw >= 0) & (raw <= 1)).all():
        raise UserError(f"p-values lie in 0 to 1, not {raw.tolist()}")
    order = np.argsort(raw, kind="stable")
    rising = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1))
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(rising, 1.0)
    return tuple(adjusted.tolist())
