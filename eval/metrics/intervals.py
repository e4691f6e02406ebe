"""95 % intervals: what a figure could have been on other texts of the same kind."""

from __future__ import annotations

import math

from core.errors import UserError


def wilson(k: int, n: int) -> tuple[float, float]:
    """95 % score interval of a share k/n (Wilson 1927); (0, 1) where nothing was counted, which says nothing."""
    if not 0 <= k <= n:
        raise UserError(f"an interval needs 0 <= k <= n, not k={k} of n={n}")
    if n == 0:
        return 0.0, 1.0
    z = 1.959963984540054  # 97.5 % quantile of the normal distribution
    share, scale = k / n, 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # Exact at the ends, where floats would leave 1e-17 instead of 0.
    return (0.0 if k == 0 else max(centre - half, 0.0)), (1.0 if k == n else min(centre + half, 1.0))
