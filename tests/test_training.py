"""distill.stages and distill.fit: the whole of a distillation on tiny models, interrupted, resumed and repeated."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from core import manifest
from core.data import Corpus
from core.errors import UserError
from core.pipeline import open_pipeline
from core.pretrained import load_encoder
from core.rows import Taxonomy
from core.schema import Experiment, Losses
from core.tokenizer import TextTokenizer
from core.torch_encoder import TorchEncoder
from distill import fit, losses, origins, split_targets
from distill.callbacks import ReportOnSave, StopOnInterrupt
from distill.classifier import TorchHeads
from distill.experiment_run import Run
from distill.schedule import weight_at
from distill.stages import make_student, make_teacher
from distill.token_states import Layers
from distill.trainer import DistillationTrainer
from eval import report
from eval.metrics import auroc, confusion
from eval.operating_point import fit as fit_point

STEPS = 12  # 48 rows in batches of 8, two epochs; validated and saved every 3
TRAINING = {
    "num_train_epochs": 2,
    "per_device_train_batch_size": 8,
    "learning_rate": 3.0e-3,
    "head_learning_rate": 1.0e-2,
    "metric_for_best_model": "eval_loss",
    "evaluations_per_epoch": 2,
    "early_stopping_patience": 100,
    "precision": "fp32",
    "logging_steps": 2,
}
TERMS = {"embedding_cosine": 1.0, "embedding_mse": 0.5, "hidden_mse": 0.1, "logits_kd": 1.0, "task": 1.0}
DISTILLING = {name: 0.0 for name in TERMS if name != "task"}
LATER = 4

Begin = Callable[..., Run]


@pytest.fixture(scope="module")
def mpnet(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:
    """A tiny random MPNet as transformers saves it."""
    from transformers import AutoTokenizer, MPNetConfig, MPNetModel

    folder = tmp_path_factory.mktemp("mpnet")
    torch.manual_seed(5)
    config = MPNetConfig(
        vocab_size=30527,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=514,
        initializer_range=0.2,
    )
    MPNetModel(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def begin(mpnet: Path, tiny_corpus: Corpus) -> Begin:
    """A run in `output`; keyword arguments replace keys of the configuration's sections."""

    def make(output: Path, resume: bool = False, **sections: Mapping[str, Any]) -> Run:
        settings: dict[str, dict[str, Any]] = {
            "teacher": {"origin": "pretrained", "name_or_path": str(mpnet), "max_length": 24, "dtype": "float32"},
            "student": {"layers": 1, "hidden_size": 32, "attention_heads": 4, "intermediate_size": 64},
            "losses": TERMS,
            "targets": {"cache_dir": str(output / "cache")},
        }
        settings["teacher"]["training"] = TRAINING
        settings["student"] |= {"init": "teacher", "max_length": 24, "training": TRAINING}
        for name, changed in sections.items():
            settings[name] = settings.get(name, {}) | changed
        whole = {"name": "tiny", "output": str(output), "seed": 11, "data": {"synthetic": True}, **settings}
        experiment = Experiment.model_validate(whole)
        return Run(experiment, tiny_corpus, Taxonomy.of(tiny_corpus.splits["train"]), {"command": ["test"]}, resume)

    return make


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, begin: Begin) -> Run:
    """A whole distillation with every loss term."""
    run = begin(tmp_path_factory.mktemp("finished"))
    make_student(run, make_teacher(run))
    return run


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors") | load_file(folder / "heads.safetensors")


def same(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def last_state(run: Run, stage: str) -> dict[str, Any]:
    """trainer_state.json of the stage's last step checkpoint."""
    folders = (run.experiment.output / "training" / stage).glob("checkpoint-*")
    last = max(folders, key=lambda folder: int(folder.name.partition("-")[2]))
    state: dict[str, Any] = json.loads((last / "trainer_state.json").read_text())
    return state


@pytest.mark.parametrize("stage", ["teacher", "student"])
def test_checkpoints_open_in_the_pipeline_and_say_where_they_come_from(finished: Run, stage: str) -> None:
    folder = finished.experiment.output / stage
    pipeline = open_pipeline(folder)
    rows = finished.corpus.splits["validation"]
    probability = pipeline.classify(rows.texts).attack_probability
    fields = manifest.read(folder).fields
    assert fields["seed"] == 11
    assert fields["synthetic"] is True
    caught = (probability >= 0.5)[rows.labels == 1].mean()
    assert fields["scores"]["validation_recall"] == pytest.approx(caught)
    assert fields["scores"]["validation_false_positive_rate"] == (probability >= 0.5)[rows.labels == 0].mean()
    assert fields["max_length"] == 24
    if stage == "student":
        assert fields["parent"] == {"name": "teacher", "digest": manifest.read(folder.with_name("teacher")).digest}


@pytest.mark.parametrize("stage", ["teacher", "student"])
def test_the_classes_are_learnt(finished: Run, stage: str) -> None:
    rows = finished.corpus.splits["train"]
    said = open_pipeline(finished.experiment.output / stage).classify(rows.texts)
    assert auroc(rows.labels, said.attack_probability) > 0.8


@pytest.mark.parametrize("stage", ["teacher", "student"])
def test_every_step_checkpoint_holds_the_report_of_its_own_validation(finished: Run, stage: str) -> None:
    folders = sorted((finished.experiment.output / "training" / stage).glob("checkpoint-*"))
    assert folders
    history = last_state(finished, stage)["log_history"]
    measured = {entry["step"]: entry for entry in history if "eval_f1" in entry}
    assert sorted(measured) == [3, 6, 9, 12]
    for folder in folders:
        judged = report.read(folder)
        step = int(folder.name.partition("-")[2])
        assert judged.split == "validation"
        assert judged.rows == len(finished.corpus.splits["validation"])
        assert judged.latency is None
        assert judged.accuracy.binary_f1 == pytest.approx(measured[step]["eval_f1"])
        assert judged.accuracy.false_positive_rate == pytest.approx(measured[step]["eval_fpr"])
        assert (folder / "model.safetensors").is_file()


@pytest.mark.parametrize("stage", ["teacher", "student"])
def test_the_report_of_a_step_checkpoint_is_that_of_its_weights(finished: Run, stage: str) -> None:
    encoder = load_encoder(finished.experiment.output / stage, torch.float32)
    tokenizer = TextTokenizer.open(finished.experiment.output / stage, 24)
    rows = finished.corpus.splits["validation"]
    for folder in (finished.experiment.output / "training" / stage).glob("checkpoint-*"):
        stored = load_file(folder / "model.safetensors")
        heads = TorchHeads(encoder.spec.embedding_size, finished.taxonomy)
        for module, name in ((encoder, "encoder."), (heads, "heads.")):
            parts = {key.removeprefix(name): value for key, value in stored.items() if key.startswith(name)}
            module.load_state_dict(parts)
        linear = heads.to_linear()["binary"]
        logits = linear.logits(TorchEncoder(encoder, tokenizer).encode(rows.texts))[:, 0]
        said = logits >= fit_point(logits, rows.labels, finished.experiment.heads).logit
        judged = report.read(folder)
        assert judged.accuracy.confusion_matrix == confusion(rows.labels, said)
        assert judged.accuracy.auroc == pytest.approx(auroc(rows.labels, logits))
        right = {name: of.counts.tp + of.counts.tn for name, of in judged.per_family.items()}
        families = np.array(rows.families)
        assert right == {str(n): int((said == rows.labels)[families == n].sum()) for n in np.unique(families)}


def test_the_last_step_is_validated_wherever_it_falls(begin: Begin, tmp_path: Path) -> None:
    run = begin(tmp_path, teacher={"training": {**TRAINING, "num_train_epochs": 0.8, "evaluations_per_epoch": 2}})
    make_teacher(run)
    state = last_state(run, "teacher")
    assert state["global_step"] == state["max_steps"] == 5
    assert [entry["step"] for entry in state["log_history"] if "eval_f1" in entry] == [3, 5]
    reported = {path.parent.name for path in (tmp_path / "training" / "teacher").glob("checkpoint-*/report.json")}
    assert reported == {"checkpoint-3", "checkpoint-5"}


def test_every_term_is_logged_and_their_weighted_sum_is_the_loss(finished: Run) -> None:
    entries = [entry for entry in last_state(finished, "student")["log_history"] if "loss" in entry]
    assert [entry["step"] for entry in entries] == [2, 3, 4, 6, 8, 9, 10, 12]  # every second step and every save
    for entry in entries:
        weighted = sum(weight * entry[f"loss_{name}"] for name, weight in TERMS.items())
        assert entry["loss"] == pytest.approx(weighted, abs=2e-3)  # the Trainer rounds the loss
        assert all(entry[f"loss_{name}"] > 0 for name in TERMS)
    assert entries[-1]["loss_task"] < entries[0]["loss_task"]
    assert entries[-1]["loss_hidden_mse"] < entries[0]["loss_hidden_mse"]


def test_the_teacher_learns_from_the_labels_alone(finished: Run) -> None:
    entries = [entry for entry in last_state(finished, "teacher")["log_history"] if "loss" in entry]
    assert {name for entry in entries for name in entry if name.startswith("loss_")} == {"loss_task"}
    assert entries[-1]["loss"] < entries[0]["loss"]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    finished: Run, begin: Begin, tmp_path: Path
) -> None:
    run = begin(tmp_path)
    folder = make_student(run, make_teacher(run))
    assert same(weights(folder), weights(finished.experiment.output / "student"))
    assert same(weights(tmp_path / "teacher"), weights(finished.experiment.output / "teacher"))
    other = begin(tmp_path / "other")
    experiment = other.experiment.model_copy(update={"seed": 12})
    assert not same(weights(make_teacher(replace(other, experiment=experiment))), weights(tmp_path / "teacher"))


def test_the_distillation_terms_change_the_student(finished: Run, begin: Begin, tmp_path: Path) -> None:
    source = finished.experiment.output / "teacher"
    on_labels = begin(tmp_path / "a", losses=DISTILLING)
    folder = make_student(on_labels, source)
    assert not same(weights(folder), weights(finished.experiment.output / "student"))
    logged = {name for entry in last_state(on_labels, "student")["log_history"] for name in entry}
    assert {name for name in logged if name.startswith("loss_")} == {"loss_task"}


def test_cached_hidden_states_teach_what_live_ones_teach(
    finished: Run, begin: Begin, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = finished.experiment.output / "teacher"
    run = begin(tmp_path, targets={"disk_budget_mb": 100.0})
    make_student(run, source)
    assert "hidden states would take" not in capsys.readouterr().out
    logged = [
        [entry["loss_hidden_mse"] for entry in last_state(which, "student")["log_history"] if "loss" in entry]
        for which in (run, finished)
    ]
    assert logged[0] == pytest.approx(logged[1], rel=1e-2)


def test_a_student_without_projection_at_random(finished: Run, begin: Begin, tmp_path: Path) -> None:
    shape = {"init": "random", "hidden_size": 16, "projection": False, "teacher_layers": None}
    run = begin(tmp_path, student=shape, losses={"embedding_cosine": 0.0, "embedding_mse": 0.0})
    folder = make_student(run, finished.experiment.output / "teacher")
    assert load_encoder(folder).spec.embedding_size == 16
    assert open_pipeline(folder).classify(["hello"]).attack_probability.shape == (1,)


def test_a_half_precision_teacher_is_stored_in_two_bytes_and_still_teaches(begin: Begin, tmp_path: Path) -> None:
    run = begin(tmp_path, teacher={"dtype": "float16"})
    folder = make_student(run, make_teacher(run))
    assert {value.dtype for value in load_file(tmp_path / "teacher" / "model.safetensors").values()} == {torch.float16}
    assert {value.dtype for value in load_file(folder / "model.safetensors").values()} == {torch.float32}


def test_logistic_heads_replace_the_trained_ones(finished: Run, begin: Begin, tmp_path: Path) -> None:
    run = begin(tmp_path, heads={"kind": "logistic"})
    folder = make_teacher(run)
    trained = load_file(finished.experiment.output / "teacher" / "heads.safetensors")["binary.weight"]
    assert not torch.allclose(load_file(folder / "heads.safetensors")["binary.weight"], trained)
    assert open_pipeline(folder).classify(["hello"]).attack_probability.shape == (1,)


class Interrupted(StopOnInterrupt):
    """Ctrl-C in the middle of a step."""

    at = LATER

    def on_step_begin(self, args: object, state: Any, control: object, **_: object) -> None:
        if state.global_step == self.at - 1:
            os.kill(os.getpid(), signal.SIGINT)


def interrupt(run: Run, monkeypatch: pytest.MonkeyPatch, at: int = LATER) -> None:
    """Runs the teacher's stage until Ctrl-C in step `at`."""
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patched:
        patched.setattr(fit, "StopOnInterrupt", Interrupted)
        patched.setattr(Interrupted, "at", at)
        with pytest.raises(KeyboardInterrupt):
            make_teacher(run)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(("at", "before"), [(LATER, 3), (8, 6)], ids=["first epoch", "second epoch"])
def test_an_interrupted_training_is_resumed_where_it_was(
    finished: Run,
    begin: Begin,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    at: int,
    before: int,
) -> None:
    interrupt(begin(tmp_path), monkeypatch, at)
    assert "finishing this step and saving" in capsys.readouterr().err
    workspace = tmp_path / "training" / "teacher"
    assert {folder.name for folder in workspace.glob("checkpoint-*")} == {f"checkpoint-{before}", f"checkpoint-{at}"}
    assert not (tmp_path / "teacher").exists()
    run = begin(tmp_path, resume=True)
    starts: list[int] = []
    with monkeypatch.context() as patched:

        class Watched(StopOnInterrupt):
            def on_step_begin(self, args: object, state: Any, control: object, **_: object) -> None:
                starts.append(state.global_step)

        patched.setattr(fit, "StopOnInterrupt", Watched)
        folder = make_teacher(run)
    assert starts == list(range(at, STEPS))
    assert last_state(run, "teacher")["global_step"] == STEPS
    assert same(weights(folder), weights(finished.experiment.output / "teacher"))


def test_a_step_checkpoint_never_holds_the_report_of_another_step(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(begin(tmp_path), monkeypatch)
    workspace = tmp_path / "training" / "teacher"
    history = json.loads((workspace / f"checkpoint-{LATER}" / "trainer_state.json").read_text())["log_history"]
    validated = {entry["step"] for entry in history if "eval_f1" in entry}
    reported = {int(path.parent.name.partition("-")[2]) for path in workspace.glob("checkpoint-*/report.json")}
    assert reported == validated & {3, LATER}


def test_resume_takes_finished_stages_as_they_are(
    begin: Begin, tmp_path: Path, finished: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("distill.experiment_run.fit", refuse)
    run = begin(finished.experiment.output, resume=True)
    folder = finished.experiment.output / "teacher"
    assert make_teacher(run) == folder
    assert make_student(run, folder) == folder.with_name("student")
    with pytest.raises(AssertionError, match="trained again"):
        make_teacher(begin(tmp_path, resume=True))


@pytest.mark.parametrize(
    "changed", [{"training": {**TRAINING, "learning_rate": 2.0e-3}}, {"dropout": 0.1}], ids=lambda c: next(iter(c))
)
def test_resuming_with_another_recipe_is_refused(finished: Run, begin: Begin, changed: dict[str, Any]) -> None:
    before = manifest.read(finished.experiment.output / "teacher").digest
    with pytest.raises(UserError, match=r"begun with another configuration.*delete that folder .* --overwrite"):
        make_teacher(begin(finished.experiment.output, resume=True, teacher=changed))
    assert manifest.read(finished.experiment.output / "teacher").digest == before


def test_a_teacher_without_training_must_be_ours_with_our_classes(
    finished: Run, begin: Begin, tmp_path: Path, mpnet: Path
) -> None:
    with pytest.raises(UserError, match=r"teacher\.training is null, but .* is not one of our checkpoints"):
        make_teacher(begin(tmp_path, teacher={"training": None}))
    ours = finished.experiment.output / "teacher"
    given = begin(tmp_path, teacher={"training": None, "name_or_path": str(ours)})
    assert make_teacher(given) == ours
    fewer = replace(finished.taxonomy, subfamilies=finished.taxonomy.subfamilies[:-1])
    with pytest.raises(UserError, match="trained for other families or sub-families"):
        make_teacher(replace(given, taxonomy=fewer))


def test_hidden_states_of_more_tokens_than_the_teacher_was_made_for_are_refused(
    finished: Run, begin: Begin, tmp_path: Path
) -> None:
    run = begin(tmp_path, student={"max_length": 32}, teacher={"max_length": 32})
    with pytest.raises(UserError, match=r"the teacher was made for 24 tokens and student\.max_length is 32"):
        make_student(run, finished.experiment.output / "teacher")


def test_a_teacher_of_longer_texts_is_compared_live_on_the_student_s_tokens(
    finished: Run, begin: Begin, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = begin(tmp_path, student={"max_length": 16})
    assert weights(make_student(run, finished.experiment.output / "teacher"))
    assert "the teacher was made for 24 tokens, the student reads 16: it runs live on these" in capsys.readouterr().out


def test_one_of_our_checkpoints_can_be_fine_tuned_further(finished: Run, begin: Begin, tmp_path: Path) -> None:
    source = finished.experiment.output / "teacher"
    run = begin(tmp_path, teacher={"name_or_path": str(source), "training": {**TRAINING, "num_train_epochs": 0.5}})
    folder = make_teacher(run)
    assert not same(weights(folder), weights(source))


def test_a_damaged_checkpoint_is_no_teacher(finished: Run, begin: Begin, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(finished.experiment.output / "teacher", broken)
    content = bytearray((broken / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (broken / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=r"model\.safetensors does not match its SHA-256"):
        make_teacher(begin(tmp_path, teacher={"name_or_path": str(broken)}))


def test_a_hub_name_without_a_hub_ends_in_one_sentence_with_both_remedies() -> None:
    with pytest.raises(UserError) as caught:
        origins.locate("sentence-transformers/all-mpnet-base-v2")
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert "'sentence-transformers/all-mpnet-base-v2' is no local folder" in sentence
    assert "run once on a machine with network access" in sentence
    assert "set teacher.name_or_path=FOLDER" in sentence


@pytest.mark.parametrize("name", ["no/such/folder", "spaces are no hub id"])
def test_a_mistyped_folder_ends_in_the_same_sentence(name: str) -> None:
    with pytest.raises(UserError, match=r"is no local folder and could not be fetched"):
        origins.locate(name)


def test_more_tokens_than_positions_are_refused(tmp_path: Path, tokenizer_folder: Path, begin: Begin) -> None:
    from transformers import MPNetConfig, MPNetModel

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    MPNetModel(MPNetConfig(max_position_embeddings=20, **sizes)).save_pretrained(tmp_path / "short")
    run = begin(tmp_path, teacher={"name_or_path": str(tmp_path / "short")})
    with pytest.raises(UserError, match=r"teacher\.max_length 24 is more than the 18 positions"):
        make_teacher(run)


def test_a_nan_loss_stops_and_names_the_step(begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = losses.cross_entropy, []

    def poisoned(logits: Tensor, target: Tensor) -> Tensor:
        calls.append(1)
        return real(logits, target) * (float("nan") if len(calls) > 6 else 1.0)  # three heads a step: the third step

    monkeypatch.setattr(losses, "cross_entropy", poisoned)
    with pytest.raises(UserError, match=r"the loss is nan at step 2: lower the learning rate"):
        make_teacher(begin(tmp_path))
    assert not (tmp_path / "teacher").exists()


SCHEDULED: dict[str, Any] = dict.fromkeys(TERMS, 0.0) | {
    "task": 1.0,
    "similarity": {"weight": 5.0, "warmup_steps": 4},
    "relations": {"weight": 2.0, "until_step": 8, "decay": "linear"},
    "attention_kl": {"weight": 1.0, "until_step": 8},
    "attention_mse": {"weight": 1.0, "until_step": 8},
    "contrastive": 0.5,
    "relation_heads": 8,
    "class_weighting": "balanced",
}
OTHER_SHAPE = {"init": "random", "hidden_size": 16, "attention_heads": 2, "projection": False}
STEP_BY_STEP = {**TRAINING, "num_train_epochs": 2, "logging_steps": 1}


@pytest.fixture(scope="module")
def scheduled(tmp_path_factory: pytest.TempPathFactory, begin: Begin, finished: Run) -> Run:
    """A student of half the width and half the heads, by the terms that `finished` lacks, some with a schedule."""
    run = begin(
        tmp_path_factory.mktemp("scheduled"), losses=SCHEDULED, student=OTHER_SHAPE | {"training": STEP_BY_STEP}
    )
    make_student(run, finished.experiment.output / "teacher")
    return run


def steps_of(run: Run) -> list[dict[str, Any]]:
    return [entry for entry in last_state(run, "student")["log_history"] if "loss" in entry]


def test_every_scheduled_term_is_logged_with_its_weight(scheduled: Run) -> None:
    entries, terms = steps_of(scheduled), scheduled.experiment.losses.terms()
    assert [entry["step"] for entry in entries] == list(range(1, STEPS + 1))
    assert terms.keys() == {"task", "similarity", "relations", "attention_kl", "attention_mse", "contrastive"}
    for step, entry in enumerate(entries):
        weights = {name: entry[f"weight_{name}"] for name in terms}
        assert weights == {name: weight_at(term, step, STEPS) for name, term in terms.items()}
        logged = {name for name in terms if f"loss_{name}" in entry}
        assert logged == {name for name, weight in weights.items() if weight}  # what is off is not computed
        weighted = sum(weights[name] * entry[f"loss_{name}"] for name in logged)
        assert entry["loss"] == pytest.approx(weighted, abs=2e-3)  # the Trainer rounds the loss


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("similarity", {}),
        ("relations", {"relation_heads": 8}),
        ("relations", {"relation_heads": 1, "relation_teacher_layer": 1, "relation_student_layer": 1}),
        ("hidden_mse", {"layer_map": "last"}),
        ("attention_kl", {}),
        ("attention_mse", {"layer_map": "pairs", "layer_pairs": [[1, 1]]}),
        ("contrastive", {"contrastive_temperature": 0.5}),
        ("task", {"class_weighting": "balanced"}),
        ("task", {"class_weighting": "focal", "focal_gamma": 1.0}),
    ],
)
def test_each_term_alone_teaches_what_it_measures(
    finished: Run, begin: Begin, tmp_path: Path, name: str, settings: dict[str, Any]
) -> None:
    training = {**TRAINING, "per_device_train_batch_size": 48, "num_train_epochs": 10, "learning_rate": 2.0e-2}
    student = OTHER_SHAPE | {"training": training | {"evaluations_per_epoch": 1, "logging_steps": 1}}
    alone = dict.fromkeys(TERMS, 0.0) | {name: 1.0} | settings
    run = begin(tmp_path, losses=alone, student=student, heads={"kind": "logistic"})
    make_student(run, finished.experiment.output / "teacher")
    values = [entry[f"loss_{name}"] for entry in steps_of(run)]
    assert len(values) == 10  # all rows in every step, so that nothing but learning moves the loss
    assert values[-1] < 0.9 * values[0]


def test_validation_weighs_every_term_fully_whatever_the_step() -> None:
    """Else the losses of two validations could not be compared, and the best step not be chosen by them."""
    state = SimpleNamespace(global_step=2, max_steps=STEPS)
    at_step = SimpleNamespace(config=Losses.model_validate(SCHEDULED), state=state)
    peaks = {name: term.weight for name, term in at_step.config.terms().items()}
    assert DistillationTrainer.weights(at_step, training=False) == peaks  # type: ignore[arg-type]
    scheduled = peaks | {"similarity": 3.75, "relations": 1.5}
    assert DistillationTrainer.weights(at_step, training=True) == scheduled  # type: ignore[arg-type]


def test_the_teacher_rests_while_no_term_asks_for_its_tokens(
    scheduled: Run, finished: Run, begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Layers] = []
    real = split_targets.live_states

    def counted(source: Any) -> Any:
        states = real(source)

        def watched(rows: Any, input_ids: Tensor, mask: Tensor, layers: Layers) -> Any:
            asked.append(layers)
            return states(rows, input_ids, mask, layers)

        return watched

    monkeypatch.setattr(split_targets, "live_states", counted)
    switched = dict.fromkeys(TERMS, 0.0) | {"task": 1.0, "relation_heads": 8}
    switched |= {"relations": {"until_step": 4}, "attention_kl": {"until_step": 2}}
    run = begin(tmp_path, losses=switched, student=OTHER_SHAPE | {"training": {**TRAINING, "evaluations_per_epoch": 1}})
    make_student(run, finished.experiment.output / "teacher")
    both, alone = Layers(attention=(2,), relations=(2,)), Layers(relations=(2,))
    assert asked == [both, both, alone, alone, both, both]  # four steps, then two validations at full weight


def test_a_resumed_training_has_the_weights_it_would_have_had(
    scheduled: Run, finished: Run, begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"losses": SCHEDULED, "student": OTHER_SHAPE | {"training": STEP_BY_STEP}}
    source = finished.experiment.output / "teacher"
    with monkeypatch.context() as patched:
        patched.setattr(fit, "StopOnInterrupt", Interrupted)
        patched.setattr(Interrupted, "at", 7)
        with pytest.raises(KeyboardInterrupt):
            make_student(begin(tmp_path, **settings), source)
    run = begin(tmp_path, resume=True, **settings)
    folder = make_student(run, source)
    assert steps_of(run)[-1]["step"] == STEPS
    names = [f"weight_{name}" for name in run.experiment.losses.terms()]
    for mine, theirs in zip(steps_of(run), steps_of(scheduled), strict=True):
        assert [mine[name] for name in names] == [theirs[name] for name in names]
    assert same(weights(folder), weights(scheduled.experiment.output / "student"))


def test_two_stages_are_two_configurations(finished: Run, begin: Begin, tmp_path: Path) -> None:
    source = finished.experiment.output / "teacher"
    general = dict.fromkeys(TERMS, 0.0) | {"embedding_cosine": 1.0, "relations": 1.0, "relation_heads": 8}
    first = begin(tmp_path / "general", losses=general, heads={"kind": "logistic"})
    begun = make_student(first, source)
    onward = {"init": "checkpoint", "name_or_path": str(begun)}
    second = begin(tmp_path / "task", losses=dict.fromkeys(TERMS, 0.0) | {"task": 1.0}, student=onward)
    folder = make_student(second, source)
    started = manifest.read(folder).fields["started_from"]
    assert started == {"name": "student", "digest": manifest.read(begun).digest}
    assert not same(weights(folder), weights(begun))
    fresh = begin(tmp_path / "fresh", losses=dict.fromkeys(TERMS, 0.0) | {"task": 1.0})
    make_student(fresh, source)
    assert steps_of(second)[0]["loss_task"] < 0.9 * steps_of(fresh)[0]["loss_task"]  # encoder and heads knew something
    shutil.rmtree(begun)
    shutil.copytree(tmp_path / "fresh" / "student", begun)  # another first stage under the same name
    with pytest.raises(UserError, match="begun with another configuration"):
        make_student(replace(second, resume=True), source)


def test_a_checkpoint_to_start_from_keeps_its_own_tokenizer(finished: Run, begin: Begin, tmp_path: Path) -> None:
    cased = tmp_path / "cased"
    shutil.copytree(finished.experiment.output / "student", cased)
    (cased / manifest.NAME).unlink()  # an encoder as others leave it
    rules = json.loads((cased / "tokenizer.json").read_text())
    rules["normalizer"]["lowercase"] = not rules["normalizer"]["lowercase"]
    (cased / "tokenizer.json").write_text(json.dumps(rules))
    begun = {"init": "checkpoint", "name_or_path": str(cased), "training": {**TRAINING, "num_train_epochs": 0.5}}
    on_labels = dict.fromkeys(TERMS, 0.0) | {"task": 1.0}
    source = finished.experiment.output / "teacher"
    folder = make_student(begin(tmp_path / "a", losses=on_labels, student=begun), source)
    assert TextTokenizer.open(folder, 24).hash() == TextTokenizer.open(cased, 24).hash()
    by_token = on_labels | {"relations": 1.0, "relation_heads": 8}
    with pytest.raises(UserError, match=r"losses\.relations compares .* have unlike tokenizers"):
        make_student(begin(tmp_path / "b", losses=by_token, student=begun), source)


def test_mistakes_in_the_student_s_part_show_before_the_teacher_is_trained(
    finished: Run, begin: Begin, tmp_path: Path
) -> None:
    with pytest.raises(
        UserError, match=r"relation_heads 5 must divide the width of the teacher, 32, and of the student"
    ):
        make_teacher(begin(tmp_path, losses={"relations": 1.0, "relation_heads": 5}))
    with pytest.raises(UserError, match=r"student\.name_or_path: .*nowhere is no folder"):
        make_teacher(begin(tmp_path, student={"init": "checkpoint", "name_or_path": str(tmp_path / "nowhere")}))
    late = dict.fromkeys(TERMS, 0.0) | {"contrastive": 1.0, "task": {"from_step": STEPS}}
    run = begin(tmp_path, losses=late)
    with pytest.raises(UserError, match=r"losses\.task\.from_step is 12, but the training has 12 steps"):
        make_student(run, finished.experiment.output / "teacher")
    assert not list((tmp_path / "training" / "student").glob("checkpoint-*"))


def test_a_student_that_is_its_teacher_is_refused(finished: Run, begin: Begin, tmp_path: Path) -> None:
    run = begin(tmp_path, student={"layers": 2})
    with pytest.raises(UserError, match="there is nothing to distil"):
        make_student(run, finished.experiment.output / "teacher")


def test_scores_are_reported_once(tmp_path: Path) -> None:
    judged: list[Path] = []
    callback = ReportOnSave(lambda scores, folder: judged.append(folder))
    arguments, control = SimpleNamespace(should_save=True, output_dir=tmp_path), SimpleNamespace()
    scores = (np.zeros(1, np.float32),)
    callback.scores = scores
    for step in (3, 4):  # saved again without a validation in between
        callback.on_save(arguments, SimpleNamespace(global_step=step), control)  # type: ignore[arg-type]
    assert judged == [tmp_path / "checkpoint-3"]
