"""Encoding time by length, threads, batch and padding, as far as a time box allows, what matters most first."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from tqdm import tqdm

from core.encoder import Encoder
from core.errors import UserError
from eval.clock import latency
from eval.clock.grid_plan import (
    Ids,
    Setting,
    by_bucket,
    expected_seconds,
    importance,
    label,
    not_there,
    plan,
    without_time,
)
from eval.clock.latency import without_collection
from eval.schema import Cell, Grid

FEWEST_CALLS, MOST_CALLS = 4, 300  # timed calls of a cell
GENEROUS = 4.0  # shares of the remaining time that a slow cell may take before it has to wait for the others


class Timed(latency.Timed, Protocol):
    """A pipeline whose encoder can be timed alone."""

    @property
    def encoder(self) -> Encoder: ...


def measure(pipeline: Timed, texts: Sequence[str], seconds: float, cores: int, seed: int) -> Grid:
    """Time `encoder.embed` on batches drawn from the texts, in each setting of `plan` that the `seconds` allow.

    Every cell gets a fair share of what time remains. One whose few calls would take much more than that waits until
    all others had theirs, and is left out when the rest does not suffice. The pipeline keeps one thread. UserError: no
    texts, or no time.
    """
    if not texts or seconds <= 0:
        raise UserError(f"the grid needs at least one text and some time, not {len(texts)} texts and {seconds:g} s")
    tokens = pipeline.encoder.tokenise(texts)
    buckets = by_bucket(tokens)
    waiting = plan(buckets, cores)
    generator = np.random.default_rng(seed)
    cells: dict[Setting, Cell] = {}
    try:
        with without_collection(), tqdm(total=len(waiting), desc="grid", unit="cell", mininterval=0.5) as shown:
            start = time.perf_counter()
            for generous in (GENEROUS, float("inf")):  # the second time round only the box itself is the limit
                later: list[Setting] = []
                for place, setting in enumerate(waiting):
                    remaining = seconds - (time.perf_counter() - start)
                    share = remaining / (len(waiting) - place + len(later))
                    expected = (FEWEST_CALLS + 1) * expected_seconds(setting, cells)
                    if remaining <= 0 or expected > min(generous * share, remaining):
                        later.append(setting)
                        continue
                    pipeline.use_threads(setting.threads)
                    fitting, limits = buckets[setting.bucket], (share, remaining)
                    cells[setting] = time_cell(pipeline.encoder, setting, fitting, limits, generator)
                    shown.update()
                waiting = later
    finally:
        pipeline.use_threads(1)
    return Grid(
        seconds=time.perf_counter() - start,
        cells=tuple(cells[setting] for setting in sorted(cells, key=importance)),
        left_out=(*not_there(tokens), *without_time(waiting)),
    )


def time_cell(
    encoder: Encoder,
    setting: Setting,
    texts: Sequence[Ids],
    limits: tuple[float, float],
    generator: np.random.Generator,
) -> Cell:
    """Time batches drawn from the texts, after one untimed, until they are many or the time is over.

    `limits`, seconds: the first ends the cell once it has a few calls, the second once it has one.
    """

    def batch() -> list[Ids]:
        return [texts[index] for index in generator.integers(len(texts), size=setting.batch)]

    taken: list[int] = []
    begun = time.perf_counter()
    encoder.embed(batch(), setting.width)  # finds memory and caches as another shape left them
    while len(taken) < MOST_CALLS and (not taken or time.perf_counter() - begun < limits[len(taken) < FEWEST_CALLS]):
        drawn = batch()
        start = time.perf_counter_ns()
        encoder.embed(drawn, setting.width)
        taken.append(time.perf_counter_ns() - start)
    p50, p95 = (float(value) for value in np.percentile(taken, (50, 95)) / 1e6)
    return Cell(
        tokens=label(setting.bucket), threads=setting.threads, batch=setting.batch, padding=setting.padding,
        calls=len(taken), p50_ms=p50, p95_ms=p95, texts_per_second=setting.batch * len(taken) / (sum(taken) / 1e9),
    )  # fmt: skip
