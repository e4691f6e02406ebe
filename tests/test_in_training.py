"""distill.in_training: zeros and rounding through the real training, killed, resumed and brought to its best state."""

import copy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import TrainerState

from core import activation_ranges, fake_quant, parametrised, sparsity
from core.data import Corpus
from core.masks import cubic
from core.model import SentenceEncoder
from core.rows import Taxonomy
from core.schema import Heads, Losses, Training
from core.schema.compression import FakeQuantisation, Sparsity
from core.schema.losses import OFF
from core.tokenizer import TextTokenizer
from distill import fit, in_training
from distill.callbacks import StopOnInterrupt
from distill.classifier import SentenceClassifier, TorchHeads
from distill.safe_saves import read_state, steps_saved
from distill.training_set import TrainingSet

STEPS = 12  # 48 rows in batches of 8, two epochs; validated and saved every 3
TRAINING = {
    "num_train_epochs": 2,
    "per_device_train_batch_size": 8,
    "learning_rate": 3.0e-3,
    "head_learning_rate": 1.0e-2,
    "metric_for_best_model": "eval_loss",
    "early_stopping_patience": 1,
    "precision": "fp32",
    "logging_steps": 1,
}
MAGNITUDE = Sparsity(final_sparsity=0.8, begin_ratio=0.2, end_ratio=0.6, update_steps=2)  # steps 2, 4, 6 and 7
SOFT = Sparsity(method="soft_movement", final_sparsity=0.8, score_penalty=100.0)
ROUNDING = FakeQuantisation(
    bits=4, embedding_bits=4, block_size=8, step="learned", activations=True, freeze_ratio=0.42, range_momentum=0.5
)


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Run:
    """Trainings of the tiny encoder with dropout, in the folder given."""

    def __init__(self, encoder: SentenceEncoder, corpus: Corpus, tokenizer: TextTokenizer) -> None:
        self.taxonomy = Taxonomy.of(corpus.splits["train"])
        self.encoder = encoder
        self.sets = [TrainingSet.of(corpus.splits[name], self.taxonomy, tokenizer) for name in ("train", "validation")]

    def train(
        self,
        folder: Path,
        zeros: Sparsity | None,
        rounding: FakeQuantisation | None,
        resume: bool = False,
        killed_in: int | None = None,
        **training: Any,
    ) -> SentenceClassifier:
        """The trained classifier, its parametrisations still on."""
        torch.manual_seed(3)
        encoder = copy.deepcopy(self.encoder)
        model = SentenceClassifier(encoder, TorchHeads(encoder.spec.embedding_size, self.taxonomy))
        callbacks = in_training.begin(encoder, encoder.transformer.encoder, zeros, rounding)

        class Doomed(StopOnInterrupt):
            def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: object) -> None:
                if state.global_step + 1 == killed_in:
                    raise Killed

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(fit, "StopOnInterrupt", Doomed)
            on_labels = Losses(embedding_cosine=OFF, logits_kd=OFF)
            settings = Training(**TRAINING | training)
            train, validation = self.sets
            fit.fit(
                model, train, validation, on_labels, settings, Heads(), folder, 5, lambda *_: None, resume, callbacks
            )
        return model.eval()


@pytest.fixture(scope="module")
def run(tiny_encoder: SentenceEncoder, tiny_corpus: Corpus, tokenizer_folder: Path) -> Run:
    return Run(tiny_encoder, tiny_corpus, TextTokenizer.open(tokenizer_folder, 24))


@pytest.fixture(scope="module")
def magnitude(run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[SentenceClassifier, Path]:
    folder = tmp_path_factory.mktemp("magnitude")
    return run.train(folder, MAGNITUDE, None), folder


@pytest.fixture(scope="module")
def everything(run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[SentenceClassifier, Path]:
    folder = tmp_path_factory.mktemp("everything")
    return run.train(folder, SOFT, ROUNDING), folder


def last(folder: Path) -> Path:
    return folder / f"checkpoint-{steps_saved(folder)[0]}"


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def embed(encoder: SentenceEncoder) -> Tensor:
    ids, mask = torch.tensor([[0, 2000, 2001, 2002, 2]]), torch.ones(1, 5, dtype=torch.int64)
    with torch.no_grad():
        return encoder(ids, mask).sentence_embedding


def test_the_schedule_is_followed_and_logged(magnitude: tuple[SentenceClassifier, Path]) -> None:
    _, folder = magnitude
    logged = {entry["step"] - 1: entry["zeros"] for entry in read_state(last(folder)).log_history if "loss" in entry}
    share = [cubic(step, 2, 7, 0.0, 0.8) for step in (0, 0, 2, 2, 4, 4, 6, 7, 7, 7, 7, 7)]
    assert [logged[step] for step in range(STEPS)] == pytest.approx(share, abs=1e-4)


def test_the_best_is_one_with_all_its_zeros(magnitude: tuple[SentenceClassifier, Path]) -> None:
    model, folder = magnitude
    state = read_state(last(folder))
    assert state.best_global_step in (9, 12)
    losses = {entry["step"]: entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry}
    assert sorted(losses) == [3, 6, 9, 12]  # nothing before counted against the patience of 1
    assert sparsity.zeros(model.encoder.transformer.encoder) == pytest.approx(0.8, abs=1e-4)
    best = load_file(folder / f"checkpoint-{state.best_global_step}" / "model.safetensors")
    assert same(dict(model.state_dict()), best)
    assert not any("embeddings" in name and "parametrizations" in name for name in best)


def test_the_end_is_an_ordinary_encoder(run: Run, everything: tuple[SentenceClassifier, Path]) -> None:
    model = copy.deepcopy(everything[0])
    rounded = embed(model.encoder)
    scales = activation_ranges.scales(model.encoder)
    for part in activation_ranges.watched(model.encoder).values():
        assert part.frozen
        part.frozen.fill_(False)
    unrounded = embed(model.encoder)
    assert not torch.equal(rounded, unrounded)
    assert in_training.end(model.encoder) == scales
    assert len(scales) == 2 * 6
    assert torch.equal(embed(model.encoder), unrounded)
    assert model.encoder.state_dict().keys() == run.encoder.state_dict().keys()
    weights = torch.cat([layer.weight.flatten() for layer in parametrised.linears(model.encoder).values()])
    assert (weights == 0).float().mean() >= 0.8  # rounding adds some


@pytest.mark.parametrize("killed_in", [5, 8, 11])  # before, and just after, the last change of the model; after it
def test_killed_and_resumed_it_ends_in_the_same_bits(
    run: Run, everything: tuple[SentenceClassifier, Path], tmp_path: Path, killed_in: int
) -> None:
    model, folder = everything
    with pytest.raises(Killed):
        run.train(tmp_path, SOFT, ROUNDING, killed_in=killed_in)
    again = run.train(tmp_path, SOFT, ROUNDING, resume=True)
    assert same(dict(again.state_dict()), dict(model.state_dict()))
    files = [load_file(last(one) / "model.safetensors") for one in (folder, tmp_path)]
    assert same(*files)


def test_a_training_that_had_ended_gives_its_best_again(
    run: Run, everything: tuple[SentenceClassifier, Path], tmp_path: Path
) -> None:
    model, folder = everything
    shutil.copytree(folder, tmp_path / "copy")
    again = run.train(tmp_path / "copy", SOFT, ROUNDING, resume=True)
    assert same(dict(again.state_dict()), dict(model.state_dict()))
    assert fake_quant.is_applied(again)


def test_an_average_of_the_weights_has_the_zeros_too(run: Run, tmp_path: Path) -> None:
    model = run.train(tmp_path, MAGNITUDE, FakeQuantisation(), ema_decay=0.9)
    assert sparsity.zeros(model.encoder.transformer.encoder) == pytest.approx(0.8, abs=1e-4)
    before = embed(model.encoder)
    in_training.end(model.encoder)
    assert torch.equal(embed(model.encoder), before)


def test_what_was_best_before_the_model_changed_is_forgotten() -> None:
    for best, changed, kept in ((3, 3, None), (4, 3, 4), (None, 3, None)):
        state = TrainerState(best_metric=0.9, best_global_step=best, best_model_checkpoint="x")
        in_training.forget_best(state, changed)
        assert state.best_global_step == kept
        assert (state.best_metric is None) == (best == 3)
