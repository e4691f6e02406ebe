"""How long one text takes from string to decision, batch 1, stage by stage, on the calling process."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from core.errors import UserError
from core.pipeline import STAGES, untimed
from eval.clock.noise import noise, workload
from eval.kept import Calls
from eval.metrics.intervals import quantile_interval
from eval.schema import Latency, LatencyIntervals, Percentiles

REFERENCE_EVERY = 4  # texts between two runs of the reference workload
NOT_RUN = -1
SHARES = {"p50_ms": 0.5, "p90_ms": 0.9, "p95_ms": 0.95, "p99_ms": 0.99}


class Timed(Protocol):
    """What is timed: the whole way from a text to a decision, which tells `lap` each of `STAGES` when it is over."""

    def __call__(self, text: str, lap: Callable[[str], None]) -> object: ...

    def use_threads(self, threads: int) -> None: ...


def measure(pipeline: Timed, texts: Sequence[str], calls: int, warmup: int, threads: int, seed: int) -> Calls:
    """Time `calls` single calls after `warmup` untimed ones, over the texts in random order.

    `Calls.row` holds positions in `texts`. The pipeline keeps `threads` threads. UserError: no texts, or no call.
    """
    return measure_together((pipeline,), texts, calls, warmup, threads, seed)[0]


def measure_together(
    pipelines: Sequence[Timed], texts: Sequence[str], calls: int, warmup: int, threads: int, seed: int
) -> tuple[Calls, ...]:
    """The same of several pipelines, their calls interleaved: each text goes once to each of them, in an order drawn
    anew for every text, so that whatever the machine does meanwhile falls on all alike. They share the reference,
    which runs outside the timed part.
    """
    if not texts or calls < 1:
        raise UserError(f"latency needs at least one text and one call, not {len(texts)} and {calls}")
    order = calling_order(len(texts), calls, seed)
    turns = np.random.default_rng((seed, 1)).permuted(np.tile(np.arange(len(pipelines)), (calls, 1)), axis=1)
    for pipeline in pipelines:
        pipeline.use_threads(threads)
        for index in range(warmup):
            pipeline(texts[order[index % calls]], untimed)
    nanoseconds = np.empty((len(pipelines), len(STAGES), calls), dtype=np.int64)
    reference = np.full(calls, NOT_RUN, dtype=np.int64)
    run_reference = workload()
    with without_collection():
        for index, row in enumerate(tqdm(order, desc="latency", unit="text", mininterval=0.5)):
            for turn in turns[index]:
                nanoseconds[turn, :, index] = timed_call(pipelines[turn], texts[row])
            if index % REFERENCE_EVERY == 0:
                reference[index] = run_reference()
                # The workload empties caches (9 % on the next call of 12 ids): leave them as they were before it.
                pipelines[turns[index][-1]](texts[row], untimed)
    return tuple(Calls(order, dict(zip(STAGES, own, strict=True)), reference, threads) for own in nanoseconds)


def timed_call(pipeline: Timed, text: str) -> list[int]:
    """One call's nanoseconds by stage, in the order of `STAGES`.

    Each reading of the clock ends one stage and begins the next, and the last stage ends when the call returns, so
    the stages add up to the whole call. ValueError: the pipeline told other stages.
    """
    readings, told = [0], list[str]()

    def lap(stage: str) -> None:
        readings.append(time.perf_counter_ns())
        told.append(stage)

    readings[0] = time.perf_counter_ns()
    pipeline(text, lap)
    end = time.perf_counter_ns()
    if tuple(told) != STAGES:
        raise ValueError(f"the pipeline told the stages {', '.join(told) or 'none'}, not {', '.join(STAGES)}")
    readings[-1] = end
    return [later - earlier for earlier, later in pairwise(readings)]


@contextmanager
def without_collection() -> Iterator[None]:
    """No garbage collection inside: one of this process' garbage is not the model's latency."""
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def calling_order(texts: int, calls: int, seed: int) -> NDArray[np.int64]:
    """Indices of the texts to call, (calls,): one shuffle after the other, so that each text comes equally often."""
    generator = np.random.default_rng(seed)
    rounds = -(-calls // texts)
    return np.concatenate([generator.permutation(texts) for _ in range(rounds)])[:calls]


def repeats_sentence(texts: int, calls: int) -> str | None:
    """Says that `calls` calls went over fewer distinct `texts`; None where they did not."""
    if texts >= calls:
        return None
    return (
        f"Latency: there are {texts:,} texts for {calls:,} calls, so texts were repeated, and the intervals, which"
        " count calls, are too narrow for other texts."
    )


def figures(calls: Calls) -> Latency:
    """What timed calls say; nothing but the calls is needed, so anyone can compute it again.

    Rows are distinct texts (`core.data` drops repeats), so distinct rows are counted as texts. UserError: no call.
    """
    if not len(calls.row):
        raise UserError("a latency needs at least one timed call, there is none; judge again with eval.run")
    total = calls.total / 1e6
    return Latency(
        **percentiles(total).model_dump(),
        calls=len(total),
        texts=len(np.unique(calls.row)),
        threads=calls.threads,
        intervals=LatencyIntervals(**{name: quantile_interval(total, share) for name, share in SHARES.items()}),
        stages={stage: percentiles(nanoseconds / 1e6) for stage, nanoseconds in calls.stages.items()},
        noise=noise(calls.reference[calls.reference != NOT_RUN]),
    )


def percentiles(milliseconds: NDArray[np.float64]) -> Percentiles:
    """Summary of times, (calls,); percentiles interpolate linearly."""
    cut = dict(zip(SHARES, np.quantile(milliseconds, list(SHARES.values())).tolist(), strict=True))
    mean, most, spread = (float(value) for value in (milliseconds.mean(), milliseconds.max(), milliseconds.std()))
    return Percentiles(mean_ms=mean, max_ms=most, std_ms=spread, **cut)
