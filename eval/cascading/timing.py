"""Mean times of settings and of their layers by themselves, calls interleaved, with paired intervals over the texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.layer import Layer
from core.pipeline import STAGES
from core.schema import Evaluation
from eval.clock.latency import NOT_RUN, Timed, measure_together, percentiles
from eval.clock.noise import noise
from eval.clock.ratios import by_text
from eval.kept import Calls
from eval.metrics import percentile_interval
from eval.schema import Noise
from eval.schema.cascade import Time
from eval.schema.race import Ratio


@dataclass(frozen=True)
class LayerAlone:
    """A layer's own judgement of a text, to be timed as a pipeline is: it counts as tokenising."""

    layer: Layer

    def __call__(self, text: str, lap: Callable[[str], None]) -> object:
        verdict = self.layer.judge(text)
        for stage in STAGES:
            lap(stage)
        return verdict

    def use_threads(self, threads: int) -> None:
        self.layer.use_threads(threads)


def timed(
    pipelines: Sequence[Timed], texts: Sequence[str], evaluation: Evaluation, seed: int
) -> tuple[Sequence[Time | None], Noise | None]:
    """What each pipeline takes, the first being what the others are held against, and how far the machine wavered.

    Nothing where no call is asked for; calls are rounded up so that each text is called equally often.
    """
    calls = evaluation.latency_calls
    if not calls:
        return [None] * len(pipelines), None
    calls = calls if calls <= len(texts) else -(-calls // len(texts)) * len(texts)
    found = measure_together(pipelines, texts, calls, evaluation.warmup_calls, evaluation.threads, seed)
    reference = found[0].reference
    return times(found, evaluation.bootstrap_repeats, seed), noise(reference[reference != NOT_RUN])


def times(calls: Sequence[Calls], repeats: int, seed: int) -> list[Time]:
    """Of each, the first being what the ratios are against; a drawn text brings the calls of all of them."""
    spent = np.stack([by_text(of).mean(1) for of in calls]) / 1e6  # (settings, texts), milliseconds
    generator, texts = np.random.default_rng(seed), spent.shape[1]
    drawn = np.stack([spent[:, generator.integers(texts, size=texts)].mean(1) for _ in range(repeats)])
    return [_time(of, spent, drawn, place) for place, of in enumerate(calls)]


def _time(calls: Calls, spent: NDArray[np.float64], drawn: NDArray[np.float64], place: int) -> Time:
    """spent: (settings, texts); drawn: their means in each resample, (repeats, settings)."""
    ratio = float(spent[place].mean() / spent[0].mean())
    return Time(
        **percentiles(calls.total / 1e6).model_dump(),
        mean_interval=percentile_interval(drawn[:, place]),
        mean_ratio=Ratio(value=ratio, interval=percentile_interval(drawn[:, place] / drawn[:, 0])),
    )
