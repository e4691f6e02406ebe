"""Texts per second when every caller has its next text ready, and what a call takes under that load."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

from core.errors import UserError
from core.pipeline import untimed
from eval.clock.latency import Timed, calling_order, without_collection
from eval.schema import Throughput

CALLERS_PER_CORE = (1, 2)  # with two, one can compute while the other holds Python's lock


def measure(pipeline: Timed, texts: Sequence[str], seconds: float, cores: int, seed: int) -> Throughput:
    """A closed loop of as many callers as cores, then of twice as many, for half the time each: the better of the two.

    Each call has one thread, which the pipeline keeps. UserError: no texts, or no time.
    """
    if not texts or seconds <= 0:
        raise UserError(f"throughput needs at least one text and some time, not {len(texts)} texts and {seconds:g} s")
    pipeline.use_threads(1)
    share = seconds / len(CALLERS_PER_CORE)
    shown = tqdm(CALLERS_PER_CORE, desc="throughput", unit="load")
    loads = [saturate(pipeline, texts, share, callers * cores, seed) for callers in shown]
    return max(loads, key=lambda load: load.texts_per_second)


def saturate(pipeline: Timed, texts: Sequence[str], seconds: float, callers: int, seed: int) -> Throughput:
    """Keep `callers` Python threads calling for `seconds`, over the texts in random order, after a call for each.

    A call that was begun is finished and counted, and every caller makes at least one. The first failure stops all
    callers and is raised.
    """
    order = calling_order(len(texts), len(texts), seed)
    turn = itertools.count()  # shared: `next` is one step of the interpreter, so no text is taken twice
    stop = threading.Event()

    def call_on() -> list[int]:
        taken: list[int] = []
        try:
            while not taken or not stop.is_set():
                text = texts[order[next(turn) % len(order)]]
                start = time.perf_counter_ns()
                pipeline(text, untimed)
                taken.append(time.perf_counter_ns() - start)
        finally:
            stop.set()
        return taken

    for index in range(callers):
        pipeline(texts[order[index % len(order)]], untimed)
    with without_collection(), ThreadPoolExecutor(callers) as pool:
        start = time.perf_counter()
        running = [pool.submit(call_on) for _ in range(callers)]
        try:
            stop.wait(seconds)
        finally:
            stop.set()  # also when Ctrl-C ended the wait: the pool waits for its threads
        taken = np.concatenate([caller.result() for caller in running])
        elapsed = time.perf_counter() - start
    return Throughput(
        callers=callers,
        seconds=elapsed,
        texts=len(taken),
        texts_per_second=len(taken) / elapsed,
        p95_ms=float(np.percentile(taken, 95)) / 1e6,
    )
