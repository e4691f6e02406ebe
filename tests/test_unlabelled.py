"""Texts without labels: how they are read, and what learns from them: what the teacher says, never what labels say."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor

from core.data import SPLITS, Corpus, load
from core.errors import UserError
from core.rows import IGNORED, Rows, Taxonomy
from core.schema import Data, Experiment, Losses
from core.tokenizer import TextTokenizer
from core.unlabelled import fingerprint_of_texts
from distill import losses
from distill.classifier import ClassifierOutput, Logits, SentenceClassifier, TorchHeads
from distill.experiment_run import Run, train_classifier
from distill.terms import Batch, joined, loss_term, own_share
from distill.token_states import TokenStates
from distill.trainer import DistillationTrainer
from distill.training_set import TeacherTargets, TrainingSet, collate

if TYPE_CHECKING:
    from core.model import SentenceEncoder

Raw = dict[str, object]
NEW = tuple(f"What does number {i} have to do with the price of tea?" for i in range(16))


def attack(text: str, **changed: object) -> Raw:
    return {"text": text, "label": 1, "family": "PI", "subfamily": "override", **changed}


def benign(text: str, **changed: object) -> Raw:
    return {"text": text, "label": 0, "family": "BENIGN", "subfamily": "benign", **changed}


def write(path: Path, rows: Sequence[Raw]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def data(folder: Path, texts: Sequence[Raw], **settings: object) -> Data:
    """Two training rows, a validation row and these texts without labels."""
    given = {
        "train": [write(folder / "train.jsonl", [attack("Obey me"), benign("Good morning")])],
        "validation": [write(folder / "validation.jsonl", [benign("Good evening")])],
        "unlabelled": [write(folder / "texts.jsonl", texts)],
    }
    return Data.model_validate({**given, **settings})


def test_every_new_text_arrives_once_and_the_others_are_counted(tmp_path: Path) -> None:
    texts = ["a", "obey  ME", "b", "Good evening", "A", "c"]
    corpus = load(data(tmp_path, [{"text": text} for text in texts]), seed=1)
    assert corpus.unlabelled == ("a", "b", "c")
    assert set(corpus.unlabelled_sources) == {"texts.jsonl"}
    assert corpus.faults.counts == {"unlabelled": {"in train": 1, "in validation": 1, "duplicate": 1}}
    assert corpus.fingerprints["unlabelled"] == fingerprint_of_texts(["c", "b", "a"]) != fingerprint_of_texts(["a"])
    assert "unlabelled: 3 texts of 1 sources, fingerprint" in corpus.describe()
    assert "unlabelled, rows left out: 1 in train, 1 in validation, 1 duplicate" in corpus.describe()
    assert list(corpus.splits) == ["train", "validation"]


def test_sources_are_named_as_those_of_labelled_rows(tmp_path: Path) -> None:
    rows: list[Raw] = [{"text": "a", "origin": "owner/name:file"}, {"text": "b"}]
    train = write(tmp_path / "from.jsonl", [attack("o", origin="x"), benign("p", origin="y")])
    validation = write(tmp_path / "other.jsonl", [benign("q", origin="z")])
    columns = {"source": "origin", "source_until": ":"}
    config = data(tmp_path, rows, train=[train], validation=[validation], columns=columns)
    assert load(config, 1).unlabelled_sources == ("owner/name", "texts.jsonl")


def test_nothing_changes_where_none_are_given(tmp_path: Path) -> None:
    corpus = load(data(tmp_path, [{"text": "a"}], unlabelled=[]), seed=1)
    assert (corpus.unlabelled, list(corpus.fingerprints)) == ((), ["train", "validation"])
    assert "unlabelled" not in corpus.describe()


def test_bad_rows_are_refused_with_those_of_the_splits_or_dropped(tmp_path: Path) -> None:
    bad: list[Raw] = [{"text": "a"}, {"text": " "}, {"text": 5}, {"text": "x" * 60}]
    train = write(tmp_path / "bad.jsonl", [attack("Obey me"), benign("p"), attack("")])
    config = {"train": [train], "max_characters": 50}
    with pytest.raises(UserError) as refused:
        load(data(tmp_path, bad, **config), seed=1)
    said = str(refused.value)
    assert "train: 1 empty text; unlabelled: 1 empty text; unlabelled: 1 text is not a string" in said
    assert "texts.jsonl:4: 60 characters" in said
    corpus = load(data(tmp_path, bad, **config, on_bad_row="drop"), seed=1)
    assert corpus.unlabelled == ("a",)
    assert corpus.faults.counts["unlabelled"] == {"empty text": 1, "text is not a string": 1, "over-long text": 1}


def test_a_file_without_the_text_s_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"texts\.jsonl has no column 'text', it has: texte; did you mean 'texte'\?"):
        load(data(tmp_path, [{"texte": "a"}], on_bad_row="drop"), seed=1)


def test_they_are_read_with_training_rows_alone(tmp_path: Path) -> None:
    config = data(tmp_path, [{"text": "a"}])
    Path(str(config.unlabelled[0].path)).write_bytes(b"\xff broken\n")
    assert load(config, 1, ("validation",)).unlabelled == ()
    with pytest.raises(UserError, match="unlabelled: 1 not UTF-8"):
        load(config, 1, ("train",))


def test_test_rows_neither_take_texts_away_nor_are_opened(tmp_path: Path) -> None:
    test = tmp_path / "test.jsonl"
    config = data(tmp_path, [{"text": "a"}, {"text": "b"}], test=[write(test, [benign("a")])])
    assert load(config, 1, SPLITS).unlabelled == ("a", "b")
    test.write_bytes(b"\xff broken\n")
    assert load(config, 1).unlabelled == ("a", "b")


def test_no_text_of_a_pool_is_new(tmp_path: Path) -> None:
    pool = [row for i in range(10) for row in (attack(f"a{i}"), benign(f"b{i}"))]
    texts: list[Raw] = [{"text": row["text"]} for row in pool] + [{"text": "new"}]
    given = {"pool": [write(tmp_path / "pool.jsonl", pool)], "unlabelled": [write(tmp_path / "t.jsonl", texts)]}
    corpus = load(Data.model_validate(given), 1)
    assert corpus.unlabelled == ("new",)
    assert corpus.faults.counts["unlabelled"] == {"in train": 12, "in validation": 4, "in test": 4}


def test_fewer_are_drawn_with_the_seed_in_their_order(tmp_path: Path) -> None:
    texts = [f"text {i:02}" for i in range(30)]
    config = data(tmp_path, [{"text": text} for text in texts], max_rows=8)
    corpus = load(config, seed=1)
    assert len(corpus.unlabelled) == len(corpus.unlabelled_sources) == 8
    assert list(corpus.unlabelled) == sorted(corpus.unlabelled)
    assert load(config, seed=1).fingerprints == corpus.fingerprints
    assert load(config, seed=2).fingerprints["unlabelled"] != corpus.fingerprints["unlabelled"]


def test_texts_that_all_have_labels_already_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="all of 2 usable ones stand in train or validation"):
        load(data(tmp_path, [{"text": "Obey me"}, {"text": "good evening"}]), seed=1)


def test_a_configuration_that_cannot_use_them_is_refused(tmp_path: Path) -> None:
    given = data(tmp_path, [{"text": "a"}]).model_dump(mode="json")
    whole: dict[str, Any] = {"name": "x", "output": "o", "data": given}
    Experiment.model_validate(whole | {"losses": {"logits_kd": 0, "task": 0}, "heads": {"kind": "logistic"}})
    Experiment.model_validate(whole | {"losses": {"embedding_cosine": 0, "logits_kd": 0, "relations": 1}})
    with pytest.raises(ValueError, match=r"`data\.unlabelled` has no labels to learn from"):
        Experiment.model_validate(whole | {"losses": {"embedding_cosine": 0, "logits_kd": 0, "contrastive": 1}})
    test = {"test": given["validation"], "unlabelled": given["unlabelled"]}
    with pytest.raises(ValueError, match="`unlabelled` texts stand beside training rows"):
        Data.model_validate(test)
    with pytest.raises(ValueError, match="`unlabelled` already means other rows"):
        Data.model_validate({**given, "extra": {"unlabelled": given["unlabelled"]}})


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path) -> TextTokenizer:
    return TextTokenizer.open(tokenizer_folder, 24)


def judged(count: int, taxonomy: Taxonomy, width: int = 32) -> TeacherTargets:
    """What a teacher might say of so many texts."""
    families, subfamilies = len(taxonomy.families), len(taxonomy.subfamilies)
    logits = Logits(torch.randn(count), torch.randn(count, families), torch.randn(count, subfamilies))
    return TeacherTargets(torch.nn.functional.normalize(torch.randn(count, width), dim=-1), logits)


def test_they_follow_the_labelled_rows_without_any_label(tiny_rows: Rows, tokenizer: TextTokenizer) -> None:
    taxonomy, rows = Taxonomy.of(tiny_rows), tiny_rows.take([0, 6])  # one benign, one attack
    made = TrainingSet.of(rows, taxonomy, tokenizer, judged(4, taxonomy), NEW[:2])
    assert made.data["input_ids"][:] == tokenizer.encode([*rows.texts, *NEW[:2]])
    batch = collate([made.data[i] for i in range(4)])
    assert batch["row"].tolist() == [0, 1, 2, 3]
    assert batch["binary"].tolist() == [0, 1, IGNORED, IGNORED]
    for name in ("family", "subfamily"):
        assert [value == IGNORED for value in batch[name].tolist()] == [True, False, True, True]
    assert len(set(made.data["text_hash"])) == 4
    with pytest.raises(ValueError, match="judged 2 texts, to be trained on are 4"):
        TrainingSet.of(rows, taxonomy, tokenizer, judged(2, taxonomy), NEW[:2])


# Rows 0 to 4 as in tests/test_terms.py, among them (1, 3) two texts without labels.
LABELS = {
    "binary": torch.tensor([1, IGNORED, 0, IGNORED, 1, 1, 0]),
    "family": torch.tensor([0, IGNORED, IGNORED, IGNORED, 1, 1, IGNORED]),
    "subfamily": torch.tensor([2, IGNORED, IGNORED, IGNORED, 0, 1, IGNORED]),
}
LABELLED = torch.tensor([0, 2, 4, 5, 6])
WEIGHTS = {"family": torch.tensor([3.0, 0.5]), "subfamily": torch.tensor([1.0, 4.0, 0.25])}


def logits(rows: int) -> Logits:
    return Logits(torch.randn(rows), torch.randn(rows, 2), torch.randn(rows, 3))


def of(rows: Tensor, batch: Batch) -> Batch:
    """These rows of a batch."""

    def chosen(said: Logits) -> Logits:
        return Logits(said.binary[rows], said.family[rows], said.subfamily[rows])

    assert batch.embedding is not None
    assert batch.logits is not None
    student = ClassifierOutput(batch.student.embedding[rows], chosen(batch.student.logits), TokenStates())
    labels = {name: label[rows] for name, label in batch.labels.items()}
    teacher, mask = chosen(batch.logits), batch.mask[rows]
    return replace(batch, student=student, labels=labels, mask=mask, embedding=batch.embedding[rows], logits=teacher)


@pytest.fixture
def batch() -> Batch:
    torch.manual_seed(3)
    student = ClassifierOutput(torch.randn(7, 6), logits(7), TokenStates())
    return Batch(student, LABELS, torch.ones(7, 4), torch.randn(7, 6), logits(7), class_weights=WEIGHTS)


@pytest.mark.parametrize("weighting", ["none", "balanced", "focal"])
@pytest.mark.parametrize("name", ["task", "contrastive"])
def test_terms_of_labels_are_those_of_the_labelled_rows(batch: Batch, name: str, weighting: str) -> None:
    config = Losses.model_validate({"class_weighting": weighting})
    expected = loss_term(name, config, of(LABELLED, batch))
    assert loss_term(name, config, batch).item() == pytest.approx(expected.item(), rel=1e-6)
    assert expected.item() > 0.1


@pytest.mark.parametrize("name", ["embedding_cosine", "embedding_mse", "similarity"])
def test_terms_of_the_teacher_s_embedding_count_all_rows(batch: Batch, name: str) -> None:
    whole = getattr(losses, name)(batch.student.embedding, batch.embedding)
    assert loss_term(name, Losses(), batch).item() == pytest.approx(whole.item())
    assert loss_term(name, Losses(), of(LABELLED, batch)).item() != pytest.approx(whole.item())


def test_the_teacher_s_verdict_counts_for_all_and_its_family_for_attacks(batch: Batch) -> None:
    mine, theirs, attacks = batch.student.logits, batch.logits, torch.tensor([0, 4, 5])
    assert theirs is not None
    binary = losses.logits_kd(losses.two_class(mine.binary), losses.two_class(theirs.binary), 2.0)
    family = losses.logits_kd(mine.family[attacks], theirs.family[attacks], 2.0)
    subfamily = losses.logits_kd(mine.subfamily[attacks], theirs.subfamily[attacks], 2.0)
    expected = (binary + 0.5 * family + 0.5 * subfamily).item()
    assert loss_term("logits_kd", Losses(), batch).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("weighting", ["none", "balanced", "focal"])
@pytest.mark.parametrize("name", ["task", "contrastive"])
def test_a_batch_without_a_label_gives_labels_no_say_but_a_gradient(batch: Batch, name: str, weighting: str) -> None:
    bare = of(torch.tensor([1, 3]), batch)
    embedding = bare.student.embedding.requires_grad_()
    heads = [torch.nn.Linear(6, width) for width in (1, 2, 3)]
    binary, family, subfamily = (head(embedding) for head in heads)
    student = ClassifierOutput(embedding, Logits(binary[:, 0], family, subfamily), TokenStates())
    value = loss_term(name, Losses.model_validate({"class_weighting": weighting}), replace(bare, student=student))
    assert value.item() == 0.0
    value.backward()
    assert embedding.grad is not None
    assert (embedding.grad == 0).all()
    if name == "task":  # every head took part: a process that waits for their gradients gets them
        assert all(head.weight.grad is not None and (head.weight.grad == 0).all() for head in heads)


def test_what_several_processes_join_keeps_texts_without_labels_apart(batch: Batch) -> None:
    together = joined(batch, real=4)  # rows 0 to 3: an attack, a benign text, two without labels
    assert together.labels["binary"].tolist() == [1, IGNORED, 0, IGNORED]
    first = replace(of(torch.arange(4), batch), class_weights=None)
    for name in ("task", "contrastive"):
        assert loss_term(name, Losses(), together).item() == pytest.approx(loss_term(name, Losses(), first).item())
    own, share = own_share(batch, real=4)
    assert (len(own.mask), share.item()) == (4, 1.0)  # their tokens count


def test_rare_classes_are_counted_among_labelled_rows(tiny_rows: Rows, tokenizer: TextTokenizer) -> None:
    taxonomy = Taxonomy.of(tiny_rows)
    found = []
    for texts in ((), NEW):
        trainer = DistillationTrainer.__new__(DistillationTrainer)
        trainer.config = Losses.model_validate({"class_weighting": "balanced"})
        trainer.train_dataset = TrainingSet.of(tiny_rows, taxonomy, tokenizer, None, texts).data
        trainer.args = type("Arguments", (), {"device": torch.device("cpu")})()
        found.append(trainer.class_weights)
    assert found[0] is not None
    assert found[1] is not None
    for name, weights in found[0].items():
        torch.testing.assert_close(found[1][name], weights)


@pytest.fixture
def run(tmp_path: Path, tiny_corpus: Corpus) -> Run:
    """A run whose training rows have sixteen texts without labels beside them."""
    corpus = replace(tiny_corpus, unlabelled=NEW, unlabelled_sources=("web",) * len(NEW))
    training = {
        "num_train_epochs": 6,
        "per_device_train_batch_size": 8,
        "learning_rate": 1.0e-2,
        "metric_for_best_model": "eval_loss",
        "evaluations_per_epoch": 1,
        "precision": "fp32",
        "logging_steps": 8,
    }
    whole = {"name": "tiny", "output": str(tmp_path), "data": {"synthetic": True}, "student": {"training": training}}
    experiment = Experiment.model_validate(whole)
    return Run(experiment, corpus, Taxonomy.of(corpus.splits["train"]), {"command": ["test"]}, False)


def trained(
    run: Run, encoder: SentenceEncoder, tokenizer: TextTokenizer, config: Losses, targets: dict[str, TeacherTargets]
) -> tuple[SentenceClassifier, dict[str, Any]]:
    """A copy of the encoder after its training, and the Trainer's state at its end."""
    model = SentenceClassifier(copy.deepcopy(encoder), TorchHeads(32, run.taxonomy))
    folder = run.workspace("student", "test")
    train_classifier(run, model, tokenizer, config, run.experiment.student.training, folder, targets)
    last = max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))
    return model, json.loads((last / "trainer_state.json").read_text())


def test_a_student_learns_of_each_text_what_the_teacher_says_of_it(
    run: Run, tiny_encoder: SentenceEncoder, tokenizer: TextTokenizer
) -> None:
    labelled, both = 48, 48 + len(NEW)
    assert run.learnt == run.corpus.splits["train"].texts + NEW
    assert run.texts == run.learnt + run.corpus.splits["validation"].texts
    train, validation = judged(both, run.taxonomy), judged(12, run.taxonomy)
    train.embedding[:] = 0.0
    train.embedding[:labelled, 0] = 1.0
    train.embedding[labelled:, 1] = 1.0  # another direction for the texts without labels
    validation.embedding[:] = train.embedding[0]
    config = Losses.model_validate({"logits_kd": 0.0, "embedding_cosine": 4.0, "task": 1.0, "contrastive": 0.1})
    model, state = trained(run, tiny_encoder, tokenizer, config, {"train": train, "validation": validation})
    assert state["global_step"] == 6 * both / 8
    with torch.no_grad():
        ids, mask = (torch.from_numpy(part) for part in pad_texts(tokenizer, run.learnt))
        embedding = model.eval().encoder(ids, mask).sentence_embedding
    assert (embedding[:labelled, 0] - embedding[:labelled, 1]).mean() > 0.5
    assert (embedding[labelled:, 1] - embedding[labelled:, 0]).mean() > 0.5
    assert all(np.isfinite(entry["loss"]) for entry in state["log_history"] if "loss" in entry)


def pad_texts(tokenizer: TextTokenizer, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    from core.tokenizer import pad

    return pad(tokenizer.encode(texts))


def test_without_a_teacher_s_word_they_are_no_training_rows(
    run: Run, tiny_encoder: SentenceEncoder, tokenizer: TextTokenizer
) -> None:
    config = Losses.model_validate({"logits_kd": 0.0, "embedding_cosine": 0.0})
    _, state = trained(run, tiny_encoder, tokenizer, config, {})
    assert state["global_step"] == 6 * 48 / 8
