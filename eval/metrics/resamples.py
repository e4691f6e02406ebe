"""Resamples of near-duplicate clusters, as how often each row counts in each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.errors import UserError
from eval.metrics.checks import binary, same_length

CELLS = 1 << 19  # resamples x rows worked on at once: 4 MB as float64
Weights = NDArray[np.uint8]  # (repeats, rows): how often each row counts


def resample(labels: ArrayLike, groups: Sequence[str], repeats: int, seed: int) -> Weights:
    """How often each row counts in each resample, (repeats, rows).

    Near-duplicates share a group and are no independent evidence, so whole groups are drawn (cluster bootstrap, Davison
    and Hinkley 1997, section 3.8): with replacement, as many as there are, apart for those of attacks only, of benign
    rows only and of both. So a resample lacks no class that the rows have. The order of the rows does not matter.
    """
    truth = binary(labels, "labels")
    _, cluster = np.unique(np.asarray(groups, dtype=str), return_inverse=True)  # (rows,)
    same_length(truth, cluster, "groups")
    stratum = (np.bincount(cluster, truth) > 0) + 2 * (np.bincount(cluster, ~truth) > 0)  # (clusters,), 1 to 3
    generator = np.random.default_rng(seed)
    # 8 bits will do: a cluster is drawn once a resample on average, and 256 times with probability below 1e-500.
    drawn = np.zeros((repeats, len(stratum)), dtype=np.uint8)
    for kind in (1, 2, 3):
        members = np.flatnonzero(stratum == kind)
        for part in parts_of(repeats, len(members)):
            count = len(drawn[part])
            picked = generator.integers(len(members), size=(count, len(members)))
            picked += np.arange(count)[:, None] * len(members)
            times = np.bincount(picked.ravel(), minlength=picked.size)
            drawn[part, members] = times.reshape(picked.shape)
    return drawn[:, cluster]


def totals(columns: NDArray, weights: Weights) -> NDArray[np.float64]:
    """The weighted sum of each column (rows, k) in each resample, (repeats, k)."""
    same_rows(weights, len(columns))
    found = np.zeros((len(weights), columns.shape[1]))
    wide = columns.astype(np.float64)
    for part in parts_of(*weights.shape):
        found[part] = weights[part].astype(np.float64) @ wide
    return found


def same_rows(weights: Weights, rows: int) -> None:
    if weights.ndim != 2 or weights.shape[1] != rows:
        raise UserError(f"weights of shape {weights.shape} do not go with {rows} rows: resample these rows")


def parts_of(repeats: int, rows: int) -> list[slice]:
    """The resamples in parts that fit a small memory; none where there are no rows."""
    step = max(CELLS // max(rows, 1), 1)
    return [slice(start, start + step) for start in range(0, repeats, step)] if rows else []
