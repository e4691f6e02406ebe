"""A model alone and behind a layer at several settings, on the same texts: decisions paired, calls interleaved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.decision import decide
from core.first_layer_model import read_whole
from core.heads import HeadScores
from core.layer import without_encoded
from core.pipeline import Pipeline
from core.provenance import hardware, timestamp
from core.rows import Rows
from core.schema import Experiment
from core.scoring import joined, views_of
from eval.accuracy import accuracy
from eval.cascading.steps import Trial, alone
from eval.cascading.timing import LayerAlone, timed
from eval.clock.latency import Timed, repeats_sentence
from eval.comparing.paired import changes, only_right
from eval.figures import decisions, figures, resampled
from eval.kept import Predictions
from eval.metrics import bootstrap, wilson
from eval.models import described
from eval.schema import SYNTHETIC, Hardware, Word
from eval.schema.cascade import Cascade, Step, Time
from eval.schema.comparison import Change
from eval.targets import judge_above, judge_below


def measure(
    model: Pipeline,
    first: Pipeline | None,
    trials: Sequence[Trial],
    rows: Rows,
    experiment: Experiment,
    *,
    synthetic: bool,
    provenance: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> Cascade:
    """Every trial against the model alone; writes nothing. `first`: the model before it, where that is no keywords.

    The model is asked once about every text: behind a layer it says the same of those that reach it.
    """
    evaluation, seed, base = experiment.evaluation, experiment.seed, alone(model)
    repeats = evaluation.bootstrap_repeats
    for pipeline in filter(None, (model, first)):
        pipeline.use_threads(hardware()["cores"])
    scores = base.scores(rows.texts)
    before = (first.model_scores(rows.texts), read_whole(first, rows.texts)) if first else None
    said = decide(scores, model.taxonomy)
    weights = bootstrap.resample(rows.labels, rows.groups, repeats, seed)
    against = figures(rows, said), resampled(rows, said, weights)
    called: list[Timed] = [base, *(trial.pipeline for trial in trials), *(LayerAlone(trial.layer) for trial in trials)]
    spent, wavered = timed(called, rows.texts, evaluation, seed)
    views = views_of(rows.texts, base.serving)
    steps = []
    for place, trial in enumerate(trials, 1):
        judged = zip(trial.verdicts(rows.texts, before), views, strict=True)
        verdicts = [without_encoded(verdict, view, base.serving.decode) for verdict, view in judged]
        whole = decide(joined(scores, verdicts), model.taxonomy)
        changed = changes(*against, figures(rows, whole), resampled(rows, whole, weights))
        times = spent[place], spent[place + len(trials)]
        steps.append(_step(trial, rows, verdicts, (said, whole), changed, times, experiment))
    if repeated := repeats_sentence(len(rows), evaluation.latency_calls):
        notes = (*notes, repeated)
    return Cascade(
        timestamp=timestamp(),
        split=evaluation.split,
        rows=len(rows),
        attacks=int(rows.labels.sum()),
        benign=int((rows.labels == 0).sum()),
        clusters=len(set(rows.groups)),
        repeats=repeats,
        seed=seed,
        synthetic=SYNTHETIC if synthetic else None,
        hardware=Hardware.model_validate(hardware()),
        noise=wavered,
        model=described(model),
        first=described(first) if first else None,
        decode=base.serving.decode,
        alone=accuracy(rows, said, repeats, seed),
        alone_time=spent[0],
        steps=tuple(steps),
        limits={"mean_ms": experiment.cascade.mean_ms, "f1_loss": experiment.cascade.f1_loss},
        notes=tuple(notes),
        provenance=dict(provenance),
    )


def _step(
    trial: Trial,
    rows: Rows,
    verdicts: Sequence[HeadScores | None],
    said: tuple[Predictions, Predictions],
    changed: dict[str, Change],
    times: tuple[Time | None, Time | None],
    experiment: Experiment,
) -> Step:
    """said: by the model alone, and by the whole; times: of the whole, and of the layer by itself."""
    attack = np.array([np.nan if verdict is None else verdict.attack[0] for verdict in verdicts])
    benign_said, attack_said = attack < 0.5, attack >= 0.5  # neither where the model was asked
    reached = int(np.isnan(attack).sum())
    model, whole = map(decisions, said)
    return Step(
        name=trial.name,
        layer=trial.kind,
        benign_at=trial.setting.benign_at,
        attack_at=trial.setting.attack_at,
        misses=trial.setting.misses,
        alarms=trial.setting.alarms,
        reach=reached / len(rows),
        reach_interval=wilson(reached, len(rows)),
        called_benign=_count(benign_said),
        called_attack=_count(attack_said),
        missed=_count(benign_said & (rows.labels == 1)),
        alarmed=_count(attack_said & (rows.labels == 0)),
        lost=_count(only_right(rows.labels, model, whole)),
        gained=_count(only_right(rows.labels, whole, model)),
        figures=changed,
        time=times[0],
        layer_time=times[1],
        judgements=_judged(changed["binary_f1"], times[0], experiment),
    )


def _count(those: NDArray[np.bool_]) -> int:
    return int(those.sum())


def _judged(f1: Change, time: Time | None, experiment: Experiment) -> dict[str, Word]:
    found: dict[str, Word] = dict.fromkeys(("mean_ms", "f1_loss"), "not measured")
    if time is not None:
        found["mean_ms"], _ = judge_below(time.mean_interval, experiment.cascade.mean_ms)
    if f1.interval is not None:
        found["f1_loss"], _ = judge_above(f1.interval, -experiment.cascade.f1_loss)
    return found
