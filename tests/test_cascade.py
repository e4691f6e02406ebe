"""eval.cascade: a model behind its first layer or behind another model, from folders to files; times by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from core.data import Corpus
from core.errors import UserError
from core.first_layer_model import ModelLayer, log_odds
from core.pipeline import Pipeline, open_pipeline
from core.rows import Taxonomy
from core.schema import Experiment
from core.serving import Serving
from core.sureness import Setting
from distill import fit_triggers
from eval import cascade
from eval.cascading import page, report
from eval.cascading.steps import alone, keyword_trials, model_trials
from eval.cascading.timing import times
from eval.cells import amount
from eval.kept import Calls
from eval.schema.cascade import Cascade

SMALL = {"minimum_attacks": 4, "clusters": 0, "rules": 50, "folds": 3}
SHARES = {"misses": [0.02, 0.1, 0.3], "alarms": [0.02, 0.1, 0.3]}


def experiment(
    source: Path | None, output: Path, data: dict, peers: tuple[Path, ...] = (), calls: int = 24
) -> Experiment:
    whole = {"name": "tiny", "output": str(output), "data": data, "triggers": {**SMALL, **SHARES}}
    given = Experiment.model_validate({**whole, "checkpoint": source and str(source)})
    quick = {"latency_calls": calls, "warmup_calls": 1, "bootstrap_repeats": 200, "peers": peers}
    return given.model_copy(update={"evaluation": given.evaluation.model_copy(update=quick)})


@pytest.fixture(scope="module")
def guarded(tiny_checkpoint: Path, data: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("guarded")
    assert fit_triggers.work(experiment(tiny_checkpoint, output, data)) == 0
    return output / "tiny-guarded"


@pytest.fixture(scope="module")
def measured(guarded: Path, data: dict, tmp_path_factory: pytest.TempPathFactory) -> tuple[Cascade, Path]:
    output = tmp_path_factory.mktemp("measured")
    assert cascade.work(experiment(guarded, output, data)) == 0
    folder = output / "cascades" / "tiny-guarded-validation"
    return Cascade.model_validate_json((folder / "cascade.json").read_text()), folder


def test_every_setting_is_held_against_the_model_alone(measured: tuple[Cascade, Path], guarded: Path) -> None:
    found, _ = measured
    assert [step.name for step in found.steps] == ["careful", "balanced", "eager"]
    assert (found.rows, found.attacks, found.first) == (12, 6, None)
    reaches = [step.reach for step in found.steps]
    assert reaches == sorted(reaches, reverse=True)
    assert reaches[-1] < 1
    for step in found.steps:
        f1 = step.figures["binary_f1"]
        assert f1.before == found.alone.binary_f1
        assert f1.after is not None
        assert step.time is not None
        assert step.judgements["mean_ms"] in ("met", "missed", "undecided")
        assert step.layer_time is not None
        assert 0 < step.layer_time.p50_ms <= step.layer_time.p95_ms
        assert step.layer_time.mean_ratio.value < 1  # words are counted faster than a model is run
    assert found.alone_time is not None
    assert found.alone_time.mean_ratio.value == 1


def test_the_whole_is_what_the_pipeline_serves(
    measured: tuple[Cascade, Path], guarded: Path, tiny_corpus: Corpus
) -> None:
    rows = tiny_corpus.splits["validation"]
    for step in measured[0].steps:
        served = open_pipeline(guarded).served(Serving(first_layer=step.name))
        flagged = np.array([served(text).is_attack for text in rows.texts], bool)
        assert step.figures["binary_recall"].after == flagged[rows.labels == 1].mean()
        alone_flagged = alone(served).classify(rows.texts).attack_probability >= 0.5
        right = flagged == (rows.labels == 1), alone_flagged == (rows.labels == 1)
        assert (step.gained, step.lost) == ((right[0] & ~right[1]).sum(), (right[1] & ~right[0]).sum())


def test_it_is_written_three_ways_and_printed(measured: tuple[Cascade, Path]) -> None:
    found, folder = measured
    hostile = found.model_copy(update={"model": found.model.model_copy(update={"name": "a|<script>[red]"})})
    for text in (report.to_markdown(hostile), page.to_html(hostile)):
        assert "<script>[" not in text
        assert "balanced" in text
    written = (folder / "cascade.html").read_text()
    assert written.count("<svg") == 1
    assert "http" not in written.replace("http-equiv", "").replace("http://www.w3.org", "")
    console = Console(width=250, record=True)
    report.print_cascade(hostile, console)
    shown = console.export_text()
    assert "a|<script>[red] behind its first layer" in shown
    assert f"{found.steps[0].reach:.1%}" in shown
    own = amount(found.steps[0].layer_time and found.steps[0].layer_time.p95_ms)
    for text in (report.to_markdown(found), written, shown):
        assert own in text


def test_an_older_cascade_tells_no_times_of_the_layer(measured: tuple[Cascade, Path]) -> None:
    stored = measured[0].model_dump(mode="json")
    for step in stored["steps"]:
        del step["layer_time"]
    read = Cascade.model_validate(stored)
    assert "not measured" in report.to_markdown(read)


def test_a_model_behind_another(guarded: Path, tiny_checkpoint: Path, data: dict, tmp_path: Path) -> None:
    """Behind itself a model changes no decision, whatever the limits."""
    assert cascade.work(experiment(guarded, tmp_path, data, peers=(tiny_checkpoint,), calls=0)) == 0
    (written,) = tmp_path.glob("cascades/*/cascade.json")
    found = Cascade.model_validate_json(written.read_text())
    assert written.parent.name == "tiny-guarded-behind-tiny-validation"
    assert found.first is not None
    assert found.first.name == "tiny"
    assert all(step.lost == step.gained == 0 for step in found.steps)
    assert all(step.figures["binary_f1"].difference == 0 for step in found.steps)
    assert (found.steps[0].time, found.steps[0].judgements["mean_ms"]) == (None, "not measured")
    assert found.steps[0].layer_time is None
    assert found.notes == (
        "The limits of the first model were chosen on these very rows: on others it errs a little more.",
    )


def test_what_was_measured_is_served_from_python(
    guarded: Path, tiny_checkpoint: Path, data: dict, tmp_path: Path, tiny_corpus: Corpus
) -> None:
    """As the README and --help say it."""
    assert cascade.work(experiment(guarded, tmp_path, data, peers=(tiny_checkpoint,), calls=0)) == 0
    (written,) = tmp_path.glob("cascades/*/cascade.json")
    step = Cascade.model_validate_json(written.read_text()).steps[-1]
    setting = Setting(step.benign_at, step.attack_at, step.misses, step.alarms)
    model = open_pipeline(guarded)
    served = model.served(model.serving, ModelLayer(open_pipeline(tiny_checkpoint), setting))
    assert served.layer is not None
    verdicts = served.layer.judge_all(tiny_corpus.splits["validation"].texts)
    assert sum(verdict is not None for verdict in verdicts) == step.called_benign + step.called_attack > 0


def test_a_model_decides_what_it_is_sure_of(tiny_checkpoint: Path, tiny_corpus: Corpus) -> None:
    pipeline, texts = open_pipeline(tiny_checkpoint), tiny_corpus.splits["validation"].texts
    odds = log_odds(pipeline.model_scores(texts).attack)
    low, high = np.quantile(odds, [0.3, 0.8]).tolist()
    layer = ModelLayer(pipeline, Setting(min(low, -1e-3), max(high, 1e-3), 0.1, 0.1))
    verdicts = layer.judge_all(texts)
    sure = [(one <= layer.setting.benign_at) or (one >= layer.setting.attack_at) for one in odds]
    assert [verdict is not None for verdict in verdicts] == sure
    single = [layer.judge(text) for text in texts]
    assert [verdict is not None for verdict in single] == sure
    assert layer.judge_all([]) == []
    everything = ModelLayer(pipeline, Setting(1e9, 1e10, 0.1, 0.1))
    longer = texts[0] + " bread" * 600
    assert everything.judge(texts[0]) is not None
    assert everything.judge(longer) is None  # it goes on behind what the model reads
    assert [verdict is None for verdict in everything.judge_all([texts[0], longer])] == [False, True]
    assert np.isfinite(log_odds(np.array([0.0, 1.0]))).all()


def test_mean_times_by_hand() -> None:
    def calls(milliseconds: list[float]) -> Calls:
        total = (np.array(milliseconds) * 1e6).astype(np.int64)
        return Calls(np.arange(len(total)), {"encode": total}, np.full(len(total), -1), 1)

    base, half = times([calls([1.0, 3.0, 8.0]), calls([0.5, 1.5, 4.0])], 300, 0)
    assert (base.mean_ms, half.mean_ms) == pytest.approx((4.0, 2.0))
    assert (half.mean_ratio.value, *half.mean_ratio.interval) == pytest.approx((0.5, 0.5, 0.5))  # paired
    assert base.mean_interval == pytest.approx((1.0, 8.0))


def test_what_cannot_be_measured_is_refused(
    guarded: Path, tiny_checkpoint: Path, data: dict, tmp_path: Path, tiny_corpus: Corpus
) -> None:
    with pytest.raises(UserError, match=r"has no first_layer\.json"):
        cascade.work(experiment(tiny_checkpoint, tmp_path, data))
    with pytest.raises(UserError, match="names 2 folders"):
        cascade.work(experiment(guarded, tmp_path, data, peers=(guarded, guarded)))
    with pytest.raises(UserError, match="add checkpoint=FOLDER"):
        cascade.work(experiment(None, tmp_path, data))
    one, other = open_pipeline(tiny_checkpoint), open_pipeline(guarded)
    other.taxonomy = Taxonomy(("PI",), ("x",), "BENIGN", "benign", {"x": "PI"})
    rows = tiny_corpus.splits["validation"]
    config = experiment(guarded, tmp_path, data).cascade
    with pytest.raises(UserError, match="knows other families"):
        model_trials(one, other, rows, config)
    with pytest.raises(UserError, match="attacks and benign texts"):
        model_trials(one, open_pipeline(guarded), rows.take(rows.labels == 1), config)


def test_keywords_keep_the_checkpoint_s_decoding(guarded: Path) -> None:
    served: Pipeline = open_pipeline(guarded).served(Serving(decode="beside", first_layer="eager"))
    assert alone(served).layer is None
    assert all(trial.pipeline.serving.decode == "beside" for trial in keyword_trials(served))
