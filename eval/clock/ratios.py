"""How many times as long one model takes as another, from calls that were interleaved, with 95 % intervals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eval.kept import Calls
from eval.metrics.intervals import percentile_interval
from eval.schema.race import Ratio

SHARES = (0.5, 0.95)


def ratios(first: Calls, peer: Calls, repeats: int, seed: int) -> tuple[Ratio, Ratio, Ratio]:
    """The peer's time over the first's: ratio of medians, ratio of P95s, geometric mean of the ratios text by text.

    Intervals: percentile bootstrap (Efron 1979) of `repeats` resamples of the texts. It is paired, for a drawn text
    brings the calls of both models, so what makes a text slow for both cancels out. ValueError: the two were not
    called on the same texts, or not equally often on each.
    """
    if not np.array_equal(first.row, peer.row):
        raise ValueError("a ratio needs both models called on the same texts in the same order")
    times = np.stack([by_text(first), by_text(peer)])
    generator, texts = np.random.default_rng(seed), times.shape[1]
    drawn = np.stack([_ratios(times[:, generator.integers(texts, size=texts)]) for _ in range(repeats)])
    found = zip(_ratios(times).tolist(), drawn.T, strict=True)
    at_median, at_p95, mean = (Ratio(value=value, interval=percentile_interval(values)) for value, values in found)
    return at_median, at_p95, mean


def by_text(calls: Calls) -> NDArray[np.float64]:
    """Nanoseconds of the whole calls, (texts, calls of each); ValueError where some text was called more often."""
    _, often = np.unique(calls.row, return_counts=True)
    if len(set(often.tolist())) != 1:
        raise ValueError(f"texts were called {often.min()} to {often.max()} times; a ratio needs equally many of each")
    return calls.total[np.argsort(calls.row, kind="stable")].reshape(len(often), -1).astype(np.float64)


def _ratios(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2, texts, calls of each) -> (3,)"""
    first, peer = np.quantile(times.reshape(2, -1), SHARES, axis=1).T
    geometric = np.exp(np.mean(np.log(times[1]) - np.log(times[0])))
    return np.array([*(peer / first), geometric])
