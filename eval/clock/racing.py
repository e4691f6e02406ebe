"""The race itself: models called in turn on the same texts, and each compared with the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from core.errors import UserError
from core.manifest import Manifest
from core.provenance import hardware, timestamp
from core.schema import Evaluation
from eval.clock.latency import NOT_RUN, Timed, measure_together, percentiles
from eval.clock.noise import noise
from eval.clock.ratios import ratios
from eval.kept import Calls
from eval.schema import SYNTHETIC, Hardware
from eval.schema.race import Contestant, Peer, Race, Ratio


class Runner(Timed, Protocol):
    """A pipeline that can say what it is."""

    @property
    def model_id(self) -> str: ...

    @property
    def precision(self) -> str: ...

    @property
    def folder(self) -> Path: ...

    @property
    def described(self) -> Mapping[str, Any]:
        """The fields of its manifest."""
        ...


def race(
    pipelines: Sequence[Runner],
    texts: Sequence[str],
    evaluation: Evaluation,
    *,
    synthetic: bool,
    provenance: Mapping[str, Any],
    seed: int,
) -> Race:
    """Time the pipelines on the texts, one thread, and compare each with the first; writes nothing.

    Where the calls are more than the texts, they are rounded up so that each text is called equally often. UserError:
    fewer than two models or texts, or no call.
    """
    if len(pipelines) < 2:
        raise UserError("a race needs at least two models: add evaluation.peers=[FOLDER, …]")
    if len(texts) < 2:
        raise UserError(f"a race needs at least two texts to compare models on, not {len(texts)}")
    if (calls := evaluation.latency_calls) < 1:
        raise UserError("a race needs timed calls: set evaluation.latency_calls to 1000 or more")
    rounds = -(-calls // len(texts))
    calls = calls if rounds == 1 else rounds * len(texts)
    timed = measure_together(pipelines, texts, calls, evaluation.warmup_calls, 1, seed)
    models = {(pipeline.model_id, pipeline.folder.resolve()) for pipeline in pipelines}
    by_folder = len(models) > len({identity for identity, _ in models})  # as the students of two experiments
    first, *others = [_contestant(*entry, by_folder) for entry in zip(pipelines, timed, strict=True)]
    reference = timed[0].reference
    wavered = noise(reference[reference != NOT_RUN])
    notes = []
    if not wavered.trusted:
        notes.append(
            "The ratios suffer less: what disturbs the machine falls on all models alike, and widens intervals."
        )
    if rounds > 1:
        notes.append(f"Each of the {len(texts):,} texts was called {rounds} times by each model.")
    return Race(
        timestamp=timestamp(),
        split=evaluation.split,
        texts=calls // rounds,
        calls=calls,
        synthetic=SYNTHETIC if synthetic else None,
        hardware=Hardware.model_validate(hardware()),
        noise=wavered,
        first=first,
        peers=tuple(
            _peer(own, first, ratios(timed[0], calls_of, evaluation.bootstrap_repeats, seed))
            for own, calls_of in zip(others, timed[1:], strict=True)
        ),
        notes=tuple(notes),
        provenance=dict(provenance),
    )


def _contestant(pipeline: Runner, calls: Calls, by_folder: bool) -> Contestant:
    return Contestant(
        name=str(pipeline.folder) if by_folder else pipeline.model_id,
        model_id=pipeline.model_id,
        folder=str(pipeline.folder),
        digest=Manifest(pipeline.folder, pipeline.described).digest,
        precision=pipeline.precision,
        latency=percentiles(calls.total / 1e6),
        stages={stage: percentiles(nanoseconds / 1e6) for stage, nanoseconds in calls.stages.items()},
    )


def _peer(own: Contestant, first: Contestant, found: tuple[Ratio, Ratio, Ratio]) -> Peer:
    at_median, at_p95, by_text = found
    low, high = by_text.interval
    verdict: Literal["faster", "slower", "undecided"] = "faster" if high < 1 else "slower" if low > 1 else "undecided"
    told = f"cannot be told from {first.name}" if verdict == "undecided" else f"is {verdict} than {first.name}"
    return Peer(
        **dict(own),
        p50_ratio=at_median,
        p95_ratio=at_p95,
        geometric_mean_ratio=by_text,
        verdict=verdict,
        sentence=f"{own.name} {told}: it takes {by_text.value:.3f} times as long for a text (geometric mean; 95 %"
        f" interval {low:.3f} to {high:.3f}).",
    )
