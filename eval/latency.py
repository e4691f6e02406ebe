"""How long one text takes from string to decision, batch 1, on the calling process."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from core.errors import UserError


class Timed(Protocol):
    """What is timed: the whole way from a text to a decision."""

    def __call__(self, text: str) -> object: ...

    def use_threads(self, n: int) -> None: ...


@dataclass(frozen=True)
class Latency:
    """Milliseconds a call; the standard deviation is that of these calls (no correction for sampling)."""

    mean_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    std_ms: float
    calls: int
    texts: int
    threads: int


def measure(pipeline: Timed, texts: Sequence[str], calls: int, warmup: int, threads: int, seed: int) -> Latency:
    """Time `calls` single calls after `warmup` untimed ones; `Latency.texts` counts the distinct texts timed.

    The pipeline keeps `threads` threads afterwards. UserError: no texts, or fewer than one call.
    """
    if not texts or calls < 1:
        raise UserError(f"latency needs at least one text and one call, not {len(texts)} and {calls}")
    pipeline.use_threads(threads)
    order = calling_order(len(texts), calls, seed)
    for index in range(warmup):
        pipeline(texts[order[index % calls]])
    milliseconds = _time(pipeline, [texts[index] for index in order])
    return summary(milliseconds, texts=len({texts[index] for index in order}), threads=threads)


def calling_order(texts: int, calls: int, seed: int) -> NDArray[np.int64]:
    """Indices of the texts to call, (calls,): one shuffle after the other, so that each text comes equally often."""
    generator = np.random.default_rng(seed)
    rounds = -(-calls // texts)
    return np.concatenate([generator.permutation(texts) for _ in range(rounds)])[:calls]


def summary(milliseconds: NDArray[np.float64], texts: int, threads: int) -> Latency:
    """The figures of timed calls, (calls,); percentiles interpolate linearly."""
    p50, p90, p95, p99 = (float(value) for value in np.percentile(milliseconds, (50, 90, 95, 99)))
    return Latency(
        mean_ms=float(milliseconds.mean()), p50_ms=p50, p90_ms=p90, p95_ms=p95, p99_ms=p99,
        max_ms=float(milliseconds.max()), std_ms=float(milliseconds.std()),
        calls=len(milliseconds), texts=texts, threads=threads,
    )  # fmt: skip


def _time(pipeline: Timed, texts: Sequence[str]) -> NDArray[np.float64]:
    nanoseconds = np.empty(len(texts), dtype=np.int64)
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()  # a collection of this process' garbage is not the model's latency
    try:
        for index, text in enumerate(tqdm(texts, desc="latency", unit="call", mininterval=0.5)):
            start = time.perf_counter_ns()
            pipeline(text)
            nanoseconds[index] = time.perf_counter_ns() - start
    finally:
        if collecting:
            gc.enable()
    return nanoseconds / 1e6
