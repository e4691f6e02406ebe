"""The ratio of two models' latencies from the calls kept beside their reports, which were made in separate runs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eval.kept import Calls
from eval.schema.comparison import LatencyRatio, Ratio

SHARES = (0.5, 0.95)
SEPARATE = "separate runs; `python -m eval.race` interleaves the calls"


def latency_ratio(
    before: Calls, after: Calls, place: NDArray[np.int64], repeats: int, seed: int, noise: str | None
) -> LatencyRatio:
    """Medians and P95s of the second over the first, plain and in units of each run's reference workload.

    place: where each row of the first report stands in the second, (n,). noise: why a run cannot be trusted.
    Intervals: percentile bootstrap over the timed texts (Efron 1979), a text's calls counting equally often in both
    runs, for that most of the spread is the texts' length; the runs of the workload are resampled by themselves.
    """
    back = np.empty_like(place)
    back[place] = np.arange(len(place))
    rows = (before.row, back[after.row])
    texts, index = np.unique(np.concatenate(rows), return_inverse=True)
    where = (index[: len(before.row)], index[len(before.row) :])
    totals = [calls.total / 1e6 for calls in (before, after)]
    references = [calls.reference[calls.reference >= 0] / 1e6 for calls in (before, after)]
    generator = np.random.default_rng(seed)
    resampled = np.empty((repeats, 2, 3))
    for repeat in range(repeats):
        often = np.bincount(generator.integers(len(texts), size=len(texts)), minlength=len(texts))
        for side in (0, 1):
            drawn = np.repeat(totals[side], often[where[side]])
            workload = generator.choice(references[side], size=len(references[side]))
            resampled[repeat, side] = _figures(drawn, workload)
    observed = np.stack([_figures(*pair) for pair in zip(totals, references, strict=True)])  # (2, 3)
    at_median, at_p95, of_reference = (_ratio(observed[:, k], resampled[:, :, k]) for k in range(3))
    own, drawn_own = observed[:, :2] / observed[:, 2:], resampled[:, :, :2] / resampled[:, :, 2:]
    normalised = [_ratio(own[:, k], drawn_own[:, :, k]) for k in range(2)]
    return LatencyRatio(
        p50=at_median, p95=at_p95, reference=of_reference, p50_normalised=normalised[0], p95_normalised=normalised[1],
        caution=SEPARATE if noise is None else f"{SEPARATE}; {noise}",
    )  # fmt: skip


def _figures(total: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median, P95 and the reference's median, (3,); NaN where a resample of few texts drew no call."""
    if not len(total):
        return np.full(3, np.nan)
    return np.array([*np.quantile(total, SHARES), np.median(reference)])


def _ratio(observed: NDArray[np.float64], resampled: NDArray[np.float64]) -> Ratio:
    """observed: (2,) before and after; resampled: (repeats, 2)."""
    low, high = np.nanpercentile(resampled[:, 1] / resampled[:, 0], (2.5, 97.5))
    before, after = observed.tolist()
    return Ratio(before=before, after=after, ratio=after / before, interval=(float(low), float(high)))
