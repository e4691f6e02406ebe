"""distill.safe_saves and distill.fit: killed anywhere, a training ends in the weights it would have had."""

import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from core.data import Corpus
from core.errors import UserError
from core.rows import Taxonomy, text_hash
from core.schema import Experiment
from distill import fit, safe_saves
from distill.callbacks import StopOnInterrupt
from distill.experiment_run import Run
from distill.safe_saves import SEAL, fault, newest_whole, seal, steps_saved
from distill.stages import make_student, make_teacher
from distill.trainer import DistillationTrainer

STEPS = 11  # 48 rows in batches of 8, one epoch and five sixths; validated and saved every 3 and at the end
TRAINING = {
    "num_train_epochs": 11 / 6,
    "per_device_train_batch_size": 8,
    "learning_rate": 3.0e-3,
    "head_learning_rate": 1.0e-2,
    "lr_scheduler_type": "constant_with_warmup",  # so that a step too many shows
    "metric_for_best_model": "eval_loss",
    "early_stopping_patience": 100,
    "precision": "fp32",
    "logging_steps": 2,
}
WEIGHTS = ("model.safetensors", "heads.safetensors")

Begin = Callable[..., Run]


class Killed(BaseException):
    """Stands for SIGKILL where the test lives in the same process: nothing catches it."""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def begin(tiny_checkpoint: Path, tiny_corpus: Corpus) -> Begin:
    """A run in `output` with dropout in both stages; keyword arguments replace keys of the teacher's training."""

    def make(output: Path, resume: bool = False, **training: Any) -> Run:
        teacher = {"origin": "pretrained", "name_or_path": str(tiny_checkpoint), "max_length": 24, "dtype": "float32"}
        shape = {"layers": 1, "hidden_size": 16, "attention_heads": 2, "intermediate_size": 32, "max_length": 24}
        settings = {
            "teacher": teacher | {"dropout": 0.1, "training": TRAINING | training},
            "student": shape | {"init": "random", "dropout": 0.1, "training": TRAINING},
            "targets": {"cache_dir": str(output / "cache")},
        }
        whole = {"name": "tiny", "output": str(output), "seed": 11, "data": {"synthetic": True}, **settings}
        experiment = Experiment.model_validate(whole)
        return Run(experiment, tiny_corpus, Taxonomy.of(tiny_corpus.splits["train"]), {"command": ["test"]}, resume)

    return make


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory: pytest.TempPathFactory, begin: Begin) -> Path:
    """The output of a teacher's training that nothing disturbed."""
    output = tmp_path_factory.mktemp("unharmed")
    make_teacher(begin(output))
    return output


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, begin: Begin) -> Path:
    """The output of the same training, killed in its eighth step."""
    output = tmp_path_factory.mktemp("killed")
    with pytest.MonkeyPatch.context() as patched:
        kill_in(patched, 8)
        with pytest.raises(Killed):
            make_teacher(begin(output))
    assert steps_saved(output / "training" / "teacher") == [6, 3]
    return output


def kill_in(patched: pytest.MonkeyPatch, step: int | None) -> None:
    """Raises Killed in the middle of `step` (from 1); None: between the end of training and the stage's checkpoint."""

    class Doomed(StopOnInterrupt):
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: object) -> None:
            if state.global_step + 1 == step:
                raise Killed

        def on_train_end(self, args: Any, state: Any, control: Any, **_: object) -> None:
            if step is None:
                raise Killed

    patched.setattr(fit, "StopOnInterrupt", Doomed)


def weights(output: Path, *stages: str) -> dict[str, bytes]:
    """The files of the weights as they lie on the disk."""
    return {f"{stage}/{name}": (output / stage / name).read_bytes() for stage in stages for name in WEIGHTS}


def history(output: Path, stage: str = "teacher") -> list[dict[str, Any]]:
    """What the last step checkpoint knows of the training, without its speed."""
    workspace = output / "training" / stage
    state = json.loads((workspace / f"checkpoint-{steps_saved(workspace)[0]}" / "trainer_state.json").read_text())
    timed = ("runtime", "per_second")
    return [{key: of[key] for key in of if not key.endswith(timed)} for of in state["log_history"]]


def work(run: Run, drawn: Path, killed_in: int) -> None:
    """Both stages in a process of its own; SIGKILL in the middle of step `killed_in`, counted over both from 1.

    Draws from every generator in every step and writes down what it drew.
    """
    torch.set_num_threads(1)

    class Watched(StopOnInterrupt):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: object) -> None:
            numbers = (random.random(), np.random.random(), torch.rand(1).item())
            with drawn.open("a") as file:
                print(Path(args.output_dir).name, state.global_step, *numbers, file=file)

        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: object) -> None:
            before = STEPS if Path(args.output_dir).name == "student" else 0
            if before + state.global_step + 1 == killed_in:
                os.kill(os.getpid(), signal.SIGKILL)

    fit.StopOnInterrupt = Watched  # type: ignore[misc]  # this process does nothing else
    make_student(run, make_teacher(run))


def test_killed_at_any_step_it_ends_in_the_same_bits(begin: Begin, tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")  # the libraries are loaded once, and no thread is forked
    context.set_forkserver_preload(["distill.stages", "transformers.trainer", "tensorboard"])

    def run(resume: bool, steps: Mapping[str, int]) -> list[int | None]:
        """Exit codes of runs side by side, each killed in its step; 0: never."""
        processes = []
        for name, step in steps.items():
            output = tmp_path / name
            output.mkdir(exist_ok=True)
            processes.append(context.Process(target=work, args=(begin(output, resume), output / "drawn", step)))
            processes[-1].start()
        for process in processes:
            process.join()
        return [process.exitcode for process in processes]

    chosen = {f"killed in step {step}": step for step in random.SystemRandom().sample(range(1, 2 * STEPS + 1), 3)}
    assert run(False, {"whole": 0} | chosen) == [0, *[-signal.SIGKILL] * 3]
    assert run(True, dict.fromkeys(chosen, 0)) == [0] * 3
    expected = weights(tmp_path / "whole", "teacher", "student")
    numbers = (tmp_path / "whole" / "drawn").read_text().splitlines()
    assert len(numbers) == 2 * STEPS
    for name in chosen:
        assert weights(tmp_path / name, "teacher", "student") == expected, name
        assert set((tmp_path / name / "drawn").read_text().splitlines()) == set(numbers), name
        for stage in ("teacher", "student"):
            assert history(tmp_path / name, stage) == history(tmp_path / "whole", stage), name


def truncate(folder: Path) -> None:
    path = folder / "optimizer.pt"
    path.write_bytes(path.read_bytes()[:1000])


def swap_a_byte(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    r"optimizer\.pt has 1,000 bytes, [\d,]+ were saved": truncate,
    r"model\.safetensors is missing": lambda folder: (folder / "model.safetensors").unlink(),
    r"model\.safetensors is not what was saved": swap_a_byte,
    r"it has no whole\.json, so its save was never finished": lambda folder: (folder / SEAL).unlink(),
    r"whole\.json is damaged": lambda folder: (folder / SEAL).write_text("{"),
}


@pytest.mark.parametrize("said", DAMAGES)
def test_whatever_is_not_whole_is_told(killed: Path, tmp_path: Path, said: str) -> None:
    folder = tmp_path / "checkpoint-6"
    shutil.copytree(killed / "training" / "teacher" / "checkpoint-6", folder)
    assert fault(folder) is None
    DAMAGES[said](folder)
    assert re.fullmatch(said, str(fault(folder)))


@pytest.mark.parametrize("said", list(DAMAGES)[:2], ids=["truncated", "missing"])
def test_a_half_written_checkpoint_is_set_aside_for_the_one_before(
    unharmed: Path, killed: Path, begin: Begin, tmp_path: Path, capsys: pytest.CaptureFixture[str], said: str
) -> None:
    output = tmp_path / "run"
    shutil.copytree(killed, output)
    workspace = output / "training" / "teacher"
    DAMAGES[said](workspace / "checkpoint-6")
    make_teacher(begin(output, resume=True))
    lines = capsys.readouterr().out.splitlines()
    told = next(place for place, line in enumerate(lines) if "cannot be resumed" in line)
    assert re.search(rf"checkpoint-6 cannot be resumed \({said}\): set aside as set-aside-checkpoint-6", lines[told])
    assert lines[told + 1] == "teacher: goes on from checkpoint-3"
    assert (workspace / "set-aside-checkpoint-6").is_dir()
    assert weights(output, "teacher") == weights(unharmed, "teacher")
    assert history(output) == history(unharmed)


def test_without_any_whole_checkpoint_the_stage_begins_again(
    unharmed: Path, killed: Path, begin: Begin, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    shutil.copytree(killed, output)
    truncate(output / "training" / "teacher" / "checkpoint-3")
    truncate(output / "training" / "teacher" / "checkpoint-6")
    make_teacher(begin(output, resume=True))
    assert "teacher: begins" in capsys.readouterr().out
    assert weights(output, "teacher") == weights(unharmed, "teacher")


def test_a_checkpoint_without_its_best_one_cannot_be_resumed(tmp_path: Path) -> None:
    for step, best in ((3, 3), (6, 3)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(json.dumps({"best_global_step": best}))
        seal(folder)
    assert newest_whole(tmp_path) == (tmp_path / "checkpoint-6", [])
    (tmp_path / "checkpoint-3" / "trainer_state.json").write_text("{}")
    folder, lines = newest_whole(tmp_path)
    assert folder is None
    assert "it needs the best one so far, checkpoint-3, but trainer_state.json has 2 bytes" in lines[0]
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model.safetensors", "File too large"),
        ("optimizer.pt", "torch could not write a file to its end"),
        ("trainer_state.json", "No space left on device"),
    ],
)
def test_a_full_disk_ends_in_one_sentence_and_loses_nothing(
    unharmed: Path, killed: Path, begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    output = tmp_path / "run"
    shutil.copytree(killed, output)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    class FullDisk(StopOnInterrupt):
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: object) -> None:
            folder = Path(args.output_dir) / "checkpoint-9"
            if state.global_step == 8 and name == "model.safetensors":  # written beside and renamed
                resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
            elif state.global_step == 8:
                folder.mkdir()
                (folder / name).symlink_to("/dev/full")  # takes no byte: ENOSPC

    try:
        with monkeypatch.context() as patched:
            patched.setattr(fit, "StopOnInterrupt", FullDisk)
            with pytest.raises(UserError) as caught:
                make_teacher(begin(output, resume=True))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    sentence = str(caught.value)
    assert re.search(rf"training/teacher takes no more \({said}; [\d,]+ MB free there\): make room for four", sentence)
    assert sentence.endswith("then --resume goes on from checkpoint-6")
    assert "\n" not in sentence
    make_teacher(begin(output, resume=True))
    assert weights(output, "teacher") == weights(unharmed, "teacher")


def test_other_errors_in_training_are_not_called_a_full_disk(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(DistillationTrainer, "loss_terms", broken)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        make_teacher(begin(tmp_path))


def test_nothing_is_deleted_before_the_next_save_is_whole(
    unharmed: Path, killed: Path, begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "run"
    shutil.copytree(killed, output)

    def cut(folder: Path) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(safe_saves, "seal", cut)
        with pytest.raises(Killed):
            make_teacher(begin(output, resume=True))
    workspace = output / "training" / "teacher"
    assert [(step, fault(workspace / f"checkpoint-{step}") is None) for step in steps_saved(workspace)] == [
        (9, False),
        (6, True),
        (3, True),
    ]
    make_teacher(begin(output, resume=True))
    assert weights(output, "teacher") == weights(unharmed, "teacher")


def test_what_is_kept_can_be_resumed_and_the_rest_is_deleted(tmp_path: Path) -> None:
    def save(step: int, best: int) -> list[int]:
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(json.dumps({"best_global_step": best}))
        seal(folder)
        safe_saves.rotate(tmp_path, step)
        return steps_saved(tmp_path)

    assert save(1, 1) == [1]
    assert save(2, 2) == [2, 1]
    assert save(3, 2) == [3, 2]
    assert save(4, 2) == [4, 3, 2]
    assert save(5, 5) == [5, 4, 2]  # the fourth step's best is the second
    assert save(6, 6) == [6, 5]


def test_a_training_that_had_ended_takes_no_step_more(
    unharmed: Path, begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        kill_in(patched, None)
        with pytest.raises(Killed):
            make_teacher(begin(tmp_path))
    assert not (tmp_path / "teacher").exists()
    make_teacher(begin(tmp_path, resume=True))
    assert steps_saved(tmp_path / "training" / "teacher")[0] == STEPS
    assert weights(tmp_path, "teacher") == weights(unharmed, "teacher")


def test_the_patience_used_up_before_a_kill_is_remembered(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = {"early_stopping_patience": 2, "learning_rate": 0.5, "num_train_epochs": 4}
    make_teacher(begin(tmp_path / "whole", **impatient))
    last = steps_saved(tmp_path / "whole" / "training" / "teacher")[0]
    assert 6 < last < 24, "the test needs a training that stops early"
    for step in (last - 1, None):
        with monkeypatch.context() as patched:
            kill_in(patched, step)
            with pytest.raises(Killed):
                make_teacher(begin(tmp_path / "killed", resume=step is None, **impatient))
    make_teacher(begin(tmp_path / "killed", resume=True, **impatient))
    assert steps_saved(tmp_path / "killed" / "training" / "teacher")[0] == last
    assert weights(tmp_path / "killed", "teacher") == weights(tmp_path / "whole", "teacher")


def test_accumulated_batches_in_random_order_are_resumed_too(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"group_by_length": False, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    make_teacher(begin(tmp_path / "whole", **other))
    with monkeypatch.context() as patched:
        kill_in(patched, 11)
        with pytest.raises(Killed):
            make_teacher(begin(tmp_path / "killed", **other))
    make_teacher(begin(tmp_path / "killed", resume=True, **other))
    assert weights(tmp_path / "killed", "teacher") == weights(tmp_path / "whole", "teacher")
    assert history(tmp_path / "killed") == history(tmp_path / "whole")


def test_the_type_that_a_timing_chose_is_kept(begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = begin(tmp_path, precision="auto").experiment.teacher.training
    assert training is not None
    monkeypatch.setattr(fit, "bf16_training", lambda: True)
    assert fit.in_bf16(training, tmp_path, resume=False)
    monkeypatch.setattr(fit, "bf16_training", lambda: False)
    assert fit.in_bf16(training, tmp_path, resume=True)
    assert not fit.in_bf16(training, tmp_path, resume=False)


@pytest.mark.parametrize(("name", "value"), [("loss", "nan"), ("gradient norm", "inf")])
def test_a_poisoned_batch_is_named_and_leaves_no_trace(
    unharmed: Path, begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    real, poison = DistillationTrainer.loss_terms, float(value)
    seen: list[list[int]] = []

    def poisoned(self: Any, model: torch.nn.Module, inputs: Mapping[str, Tensor], names: Any) -> Any:
        terms, logits = real(self, model, inputs, names)
        if model.training:
            seen.append(inputs["row"].tolist())
        if model.training and self.state.global_step == 7 and name == "loss":
            terms["task"] = terms["task"] * poison
        elif model.training and self.state.global_step == 7:
            terms["task"].register_hook(lambda gradient: gradient * poison)  # the loss itself stays finite
        return terms, logits

    with monkeypatch.context() as patched:
        patched.setattr(DistillationTrainer, "loss_terms", poisoned)
        with pytest.raises(UserError) as caught:
            make_teacher(begin(tmp_path))
    texts = begin(tmp_path).corpus.splits["train"].texts
    hashes = [text_hash(texts[row])[:12] for row in seen[-1]]
    sentence = str(caught.value)
    assert sentence.endswith(f"these training texts (SHA-256, first 12 digits): {', '.join(hashes)}")
    assert re.match(
        rf"the {name} is ({value}|nan) at step 7: lower the learning rate, set training\.precision", sentence
    )
    workspace = tmp_path / "training" / "teacher"
    assert steps_saved(workspace) == [6, 3]
    for path in workspace.glob("checkpoint-*/model.safetensors"):
        assert all(torch.isfinite(part).all() for part in load_file(path).values())
    make_teacher(begin(tmp_path, resume=True))
    assert weights(tmp_path, "teacher") == weights(unharmed, "teacher")
