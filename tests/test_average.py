"""distill.average: the mean of the weights by hand, in a training, after a kill, in two processes, and switched off."""

import copy
import json
import multiprocessing
import os
import signal
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from core.data import Corpus
from core.model import EncoderSpec, SentenceEncoder, build
from core.rows import Taxonomy
from core.schema import Heads, Losses, Training
from core.tokenizer import TextTokenizer
from distill import distributed, fit
from distill.average import Averaged, decay_at
from distill.callbacks import StopOnInterrupt
from distill.classifier import Logits, SentenceClassifier, TorchHeads
from distill.safe_saves import steps_saved
from distill.token_states import LayerPlan, Layers, TokenStates
from distill.training_set import TeacherTargets, TrainingSet

STEPS, DECAY, WIDTH = 11, 0.7, 16
TRAINING = {
    "num_train_epochs": STEPS / 6,  # 48 rows in batches of 8; validated and saved every 3 and at the end
    "learning_rate": 3.0e-3,
    "head_learning_rate": 1.0e-2,
    "lr_scheduler_type": "constant_with_warmup",
    "metric_for_best_model": "eval_loss",
    "early_stopping_patience": 100,
    "precision": "fp32",
    "logging_steps": 1,
}
TERMS = Losses.model_validate(
    {
        "hidden_mse": {"weight": 0.1, "until_step": 3},
        "task": {"from_step": 3, "until_step": 6},
        "embedding_cosine": {"from_step": 6},
        "logits_kd": 0,
    }
)


@dataclass(frozen=True)
class Job:
    """One process of a training of eleven steps in `folder`."""

    folder: Path
    corpus: Corpus
    tokenizer: Path
    decay: float = DECAY
    resume: bool = False
    killed_in: int = 0  # step, from 1
    processes: int = 1
    rank: int = 0
    port: int = 0


def classifier(corpus: Corpus) -> SentenceClassifier:
    torch.manual_seed(3)
    spec = EncoderSpec(layers=2, hidden_size=WIDTH, attention_heads=2, intermediate_size=32, dropout=0.0)
    return SentenceClassifier(build(spec), TorchHeads(WIDTH, Taxonomy.of(corpus.splits["train"])))


def training_set(job: Job, split: str) -> TrainingSet:
    """The rows with what a teacher might say: random embeddings, a slope as each hidden state of the first layer."""
    rows = job.corpus.splits[split]
    embedding = functional.normalize(torch.randn(len(rows.texts), WIDTH, generator=torch.Generator().manual_seed(5)))
    nothing = torch.zeros(len(rows.texts), 1)
    slope, first = torch.linspace(-1, 1, WIDTH), Layers(hidden=(1,))
    targets = TeacherTargets(
        embedding,
        Logits(nothing[:, 0], nothing, nothing),
        lambda _, ids, __, layers: TokenStates(hidden=slope.expand(len(layers.hidden), *ids.shape, WIDTH)),
        LayerPlan(first, first),
    )
    return TrainingSet.of(rows, Taxonomy.of(job.corpus.splits["train"]), TextTokenizer.open(job.tokenizer, 24), targets)


def train(job: Job) -> SentenceClassifier:
    model, training = classifier(job.corpus), Training.model_validate(TRAINING | {"ema_decay": job.decay})
    sets = (training_set(job, "train"), training_set(job, "validation"))
    training = training.model_copy(update={"per_device_train_batch_size": 8 // job.processes})
    fit.fit(model, *sets, TERMS, training, Heads(), job.folder, 11, lambda *_: None, job.resume)
    return model


def work(job: Job) -> None:
    """The training in a process of its own, which writes down the raw weights of every step and the last ones."""
    torch.set_num_threads(1)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # all processes alike, however many GPUs there are
    names = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_PORT", "MASTER_ADDR")
    if job.processes > 1:
        values = (job.processes, job.rank, job.rank, job.port, "127.0.0.1")
        os.environ |= dict(zip(names, map(str, values), strict=True))
    distributed.begin()

    class Watched(StopOnInterrupt):
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: object) -> None:
            if state.global_step + 1 == job.killed_in:
                os.kill(os.getpid(), signal.SIGKILL)

        def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            raw = given["model"].raw if job.decay else given["model"]
            if job.rank == 0:
                save_file(raw.state_dict(), job.folder / f"raw-{state.global_step}.safetensors")

    fit.StopOnInterrupt = Watched  # type: ignore[misc]  # this process does nothing else
    model = train(job)
    if job.rank == 0:
        save_file(model.state_dict(), job.folder / "last.safetensors")
    distributed.end()


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory, tiny_corpus: Corpus, tokenizer_folder: Path) -> dict[str, Path]:
    """Folders of one training: undisturbed, killed in its eighth step and resumed, not averaged, in two processes."""
    context = multiprocessing.get_context("forkserver")  # the libraries are loaded once, and no thread is forked
    context.set_forkserver_preload(["distill.stages", "transformers.trainer", "tensorboard"])
    folders = {name: tmp_path_factory.mktemp(name) for name in ("whole", "killed", "off", "two")}
    jobs = {name: Job(folder, tiny_corpus, tokenizer_folder) for name, folder in folders.items()}
    jobs["killed"] = replace(jobs["killed"], killed_in=8)
    jobs["off"] = replace(jobs["off"], decay=0.0)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        jobs["two"] = replace(jobs["two"], processes=2, port=free.getsockname()[1])

    def run(*all_jobs: Job) -> list[int | None]:
        processes = [context.Process(target=work, args=(job,)) for job in all_jobs]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        return [process.exitcode for process in processes]

    codes = run(*jobs.values(), replace(jobs["two"], rank=1))
    assert codes == [-signal.SIGKILL if job.killed_in else 0 for job in jobs.values()] + [0]
    assert run(replace(jobs["killed"], killed_in=0, resume=True)) == [0]
    return folders


def weights(folder: Path, step: int | None = None) -> dict[str, Tensor]:
    """The raw weights after a step; None: those that the training ended with."""
    return load_file(folder / (f"raw-{step}.safetensors" if step else "last.safetensors"))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Bit by bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def state(folder: Path) -> dict[str, Any]:
    """What the last step checkpoint knows of the training."""
    found: dict[str, Any] = json.loads((last_checkpoint(folder) / "trainer_state.json").read_text())
    return found


def last_checkpoint(folder: Path) -> Path:
    return folder / f"checkpoint-{steps_saved(folder)[0]}"


def history(folder: Path) -> list[dict[str, float]]:
    timed = ("runtime", "per_second")
    return [{key: of[key] for key in of if not key.endswith(timed)} for of in state(folder)["log_history"]]


@pytest.fixture
def averaged(tiny_encoder: SentenceEncoder, tiny_corpus: Corpus) -> Averaged:
    heads = TorchHeads(tiny_encoder.spec.embedding_size, Taxonomy.of(tiny_corpus.splits["train"]))
    return Averaged(SentenceClassifier(copy.deepcopy(tiny_encoder), heads), decay=0.2)


def set_to(module: torch.nn.Module, value: float) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(value)


def test_three_steps_by_hand(averaged: Averaged) -> None:
    """1; then 2/11 of it and 9/11 of 2, which is 20/11; then the decay, 0.2, is less than the warm-up's 3/12."""
    for value, expected in ((1.0, 1.0), (2.0, 20 / 11), (3.0, 0.2 * 20 / 11 + 0.8 * 3.0)):
        set_to(averaged.raw, value)
        averaged.follow()
        for average, raw in zip(averaged.average.parameters(), averaged.raw.parameters(), strict=True):
            torch.testing.assert_close(average, torch.full_like(average, expected))
            assert (raw == value).all()
    averaged.settle()
    assert all(
        torch.equal(*pair) for pair in zip(averaged.average.parameters(), averaged.raw.parameters(), strict=True)
    )
    assert decay_at(1, 0.999) == 2 / 11
    assert decay_at(100_000, 0.999) == 0.999


def test_validation_asks_the_average_and_training_the_raw_weights(averaged: Averaged) -> None:
    set_to(averaged.raw.heads, 0.0)
    averaged.follow()
    set_to(averaged.raw.heads, 1.0)
    ids = torch.tensor([[0, 2023, 2]])
    answers = {training: averaged.train(training)(ids, torch.ones_like(ids)) for training in (True, False)}
    assert answers[True].logits.family.requires_grad
    assert (answers[True].logits.family != 0).any()
    assert not answers[False].logits.family.requires_grad
    assert (answers[False].logits.family == 0).all()


@pytest.mark.parametrize("decay", [1.0, -0.1, float("nan")])
def test_a_decay_that_forgets_nothing_or_is_no_share_is_refused(decay: float) -> None:
    with pytest.raises(ValidationError, match="ema_decay"):
        Training(ema_decay=decay)


@pytest.mark.parametrize("name", ["whole", "two"])
def test_a_training_ends_with_the_average_of_its_best_step(outputs: dict[str, Path], name: str) -> None:
    folder = outputs[name]
    average = {key: value.double() for key, value in weights(folder, 1).items()}
    for step in range(1, state(folder)["best_global_step"]):
        share = min(DECAY, (1 + step) / (10 + step))
        average = {key: share * average[key] + (1 - share) * now for key, now in weights(folder, step + 1).items()}
    ended = weights(folder)
    assert ended.keys() == average.keys()
    for key, value in ended.items():
        torch.testing.assert_close(value.double(), average[key], rtol=1e-5, atol=1e-6)
    assert not same(ended, weights(folder, state(folder)["best_global_step"]))


def test_training_itself_goes_on_with_the_raw_weights(outputs: dict[str, Path]) -> None:
    """Step by step the same bits with and without an average; only what validation says differs."""
    for step in range(1, STEPS + 1):
        assert same(weights(outputs["whole"], step), weights(outputs["off"], step)), step
    on, off = history(outputs["whole"]), history(outputs["off"])
    assert [of["loss"] for of in on if "loss" in of] == [of["loss"] for of in off if "loss" in of]
    for averaged, raw in zip(on, off, strict=True):
        assert ("eval_loss" in averaged) == (averaged != raw)


def test_switched_off_nothing_is_kept_beside_the_weights(outputs: dict[str, Path], tiny_corpus: Corpus) -> None:
    """A step checkpoint holds what the classifier holds, and the training ends in the raw weights of its best step."""
    folder = outputs["off"]
    assert (
        load_file(last_checkpoint(folder) / "model.safetensors").keys() == classifier(tiny_corpus).state_dict().keys()
    )
    assert same(weights(folder), weights(folder, state(folder)["best_global_step"]))


def test_killed_and_resumed_it_ends_in_the_same_bits(
    outputs: dict[str, Path], tiny_corpus: Corpus, tokenizer_folder: Path
) -> None:
    whole, killed = outputs["whole"], outputs["killed"]
    for step in range(1, STEPS + 1):
        assert same(weights(killed, step), weights(whole, step)), step
    assert (killed / "last.safetensors").read_bytes() == (whole / "last.safetensors").read_bytes()
    files = [(last_checkpoint(folder) / "model.safetensors").read_bytes() for folder in (killed, whole)]
    assert files[0] == files[1]
    assert history(killed) == history(whole)
    again = train(Job(killed, tiny_corpus, tokenizer_folder, resume=True))  # it had come to its end: not one step more
    assert same(again.state_dict(), weights(whole))


def test_two_processes_have_the_losses_of_one(outputs: dict[str, Path]) -> None:
    """Those of validation are the average's."""
    for alone, together in zip(history(outputs["whole"]), history(outputs["two"]), strict=True):
        assert together == pytest.approx(alone, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("name", ["whole", "two"])
def test_weights_that_no_term_of_a_step_reads_stay_as_they_are(outputs: dict[str, Path], name: str) -> None:
    """Not even decayed: the second layer until `task` comes in, the heads before that and when it has gone."""

    def moved(part: str, step: int) -> bool:
        before, after = weights(outputs[name], step - 1), weights(outputs[name], step)
        return any(not torch.equal(before[key], after[key]) for key in before if part in key)

    steps = range(2, STEPS + 1)
    assert [step for step in steps if moved(".layer.1.", step)] == [step for step in steps if step > 3]
    assert [step for step in steps if moved("heads.", step)] == [4, 5, 6]
    assert all(moved("word_embeddings", step) for step in steps)
