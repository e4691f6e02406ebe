"""How far the traffic's scores and lengths lie from the evaluation's, at the share of attacks that the traffic has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from eval.live.distribution import Distribution, Reference, redrawn
from eval.metrics import percentile_interval
from eval.schema import Interval
from eval.schema.live import Drift

BINS = 10
REPEATS = 200
Cells = NDArray[np.int64]  # (2k + 1,)


@dataclass(frozen=True, eq=False)
class Compared:
    """A stream's distribution beside the reference's rows."""

    what: Literal["scores", "lengths"]
    stream: Distribution
    reference: Reference


def attack_share(stream: Cells, reference: Reference) -> float:
    """The share of attacks at which the reference comes closest to the stream (least Kolmogorov-Smirnov distance).

    An evaluation is half attacks, traffic is not: without this every model would drift on its first day (estimating a
    mixture by its distribution: Forman, Data Mining and Knowledge Discovery 17, 2008). What it cannot tell from more
    attacks is a model whose scores of benign texts come to look like those of attacks.
    """
    from scipy.optimize import minimize_scalar

    if not reference.mixed:
        return reference.attack_share
    below, all_attacks, no_attack = np.cumsum([stream / stream.sum(), reference.shares(1), reference.shares(0)], axis=1)
    gap = lambda share: np.abs(below - no_attack - share * (all_attacks - no_attack)).max()  # noqa: E731, convex
    return float(minimize_scalar(gap, bounds=(0.0, 1.0), method="bounded", options={"xatol": 1e-5}).x)


def distance(stream: Cells, shares: NDArray[np.float64]) -> tuple[float, int]:
    """Kolmogorov and Smirnov's distance of a stream to reference shares, both (2k + 1,), and the cell it is after."""
    gaps = np.abs(np.cumsum(stream) / stream.sum() - np.cumsum(shares))
    cell = int(np.argmax(gaps))
    return float(gaps[cell]), cell


def psi(stream: Cells, shares: NDArray[np.float64], rows: int) -> float:
    """Population stability index: sum of (p - q) ln(p / q) over ten bins of equal share in the reference.

    Two bins more hold what lies below and above all `rows` of the reference. The share of half a row, of the smaller
    side, is added to every bin of both, so that an empty one is no infinity.
    """
    bins = np.minimum(np.floor(BINS * (np.cumsum(shares) - shares) + 1e-9), BINS - 1).astype(np.int64)
    bins[0], bins[-1] = -1, BINS
    _, place = np.unique(bins, return_inverse=True)
    total = stream.sum()
    added = 0.5 / min(total, rows)
    p, q = (np.bincount(place, weights) + added for weights in (stream / total, shares))
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum((p - q) * np.log(p / q)))


def drift(scores: Compared, lengths: Compared, seed: int = 0) -> tuple[float, tuple[Drift, Drift]]:
    """The traffic's share of attacks, and the drift of both at that share.

    The share is chosen again in each resample of traffic and reference. Intervals are mirrored ("basic bootstrap",
    Davison and Hinkley 1997, section 5.2), since noise only ever adds to a distance. Near-duplicates among the
    reference's rows count as independent.
    """
    generator = np.random.default_rng(seed)
    pair = (scores, lengths)
    share = attack_share(scores.stream.counts, scores.reference)
    resampled = np.array([_resampled(pair, generator) for _ in range(REPEATS)])  # (repeats, 2, psi and distance)
    return share, (
        _drift(scores, share, resampled[:, 0]),
        _drift(lengths, share, resampled[:, 1]),
    )


def _resampled(pair: tuple[Compared, Compared], generator: np.random.Generator) -> list[list[float]]:
    drawn = [(redrawn(one.stream.counts, generator), one.reference.resampled(generator)) for one in pair]
    share = attack_share(*drawn[0])
    return [
        [psi(cells, reference.shares(share), reference.rows), distance(cells, reference.shares(share))[0]]
        for cells, reference in drawn
    ]


def _drift(one: Compared, share: float, resampled: NDArray[np.float64]) -> Drift:
    from scipy.stats import kstwobign

    cells, reference = one.stream.counts, one.reference
    shares, lines = reference.shares(share), int(cells.sum())
    index, (gap, cell) = psi(cells, shares, reference.rows), distance(cells, shares)
    independent = lines * reference.rows / (lines + reference.rows)
    return Drift(
        what=one.what,
        psi=index,
        psi_interval=mirrored(resampled[:, 0], index),
        distance=gap,
        distance_interval=mirrored(resampled[:, 1], gap),
        p_value=float(kstwobign.sf(gap * np.sqrt(independent))),
        at=one.stream.at(cell),
        distance_unmixed=distance(cells, reference.shares(reference.attack_share))[0],
    )


def mirrored(values: NDArray[np.float64], observed: float) -> Interval:
    """Percentiles of resamples mirrored at the observed figure, at least 0 and around it."""
    low, high = percentile_interval(values)
    return max(min(2 * observed - high, observed), 0.0), max(2 * observed - low, observed)
