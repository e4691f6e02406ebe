"""How many lines a test needs before it sees an effect of a stated size."""

from __future__ import annotations

import math

from core.errors import UserError
from eval.metrics.intervals import Z

# Z: a two-sided test at 5 %.


def of_shares(before: float, effect: float, power: float) -> int:
    """Rows in each of two groups for a share `before` that rises by `effect` (Fleiss, Levin and Paik 2003, eq. 4.14).

    UserError: the risen share is above 1, or the power is no share.
    """
    after = before + effect
    if effect <= 0 or after > 1:
        raise UserError(f"an effect of {effect:g} on a share of {before:g} leaves 0 to 1: state a smaller one")
    mean = before + effect / 2
    null = Z * math.sqrt(2 * mean * (1 - mean))
    real = quantile(power) * math.sqrt(before * (1 - before) + after * (1 - after))
    return math.ceil(((null + real) / effect) ** 2)


def of_spread(variances: tuple[float, float], lines: tuple[int, int], effect: float, power: float) -> int:
    """Lines in each of two logs for any figure whose variance falls as one over the lines.

    variances: of the figure at its present number of `lines`, by log.
    """
    of_one_line = sum(variance * count for variance, count in zip(variances, lines, strict=True))
    return max(math.ceil(of_one_line * ((Z + quantile(power)) / effect) ** 2), 1)


def quantile(power: float) -> float:
    """How many standard errors the effect must lie beyond the test's own. UserError: no share of at least a half."""
    from scipy.stats import norm

    if not 0.5 <= power < 1:
        raise UserError(f"a power of {power:g} is no plan: give a share from 0.5 up to 1, as a rule 0.8")
    return float(norm.ppf(power))
