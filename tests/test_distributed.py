"""distill.distributed: two processes train as one with the same batch, and a silent single process is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as group

from core.errors import UserError
from core.rows import Taxonomy
from core.schema import Experiment
from distill import distributed

SHARED = {  # every kind of term: whole texts, pairs of texts, tokens
    "embedding_cosine": 1.0,
    "similarity": 1.0,
    "contrastive": 0.3,
    "logits_kd": 1.0,
    "task": 1.0,
    "hidden_mse": 0.1,
    "relations": 0.1,
    "relation_heads": 2,
}
# 45 rows in batches of 8: the last has 5, of which the second process holds one and three repetitions
ROWS, BATCH = 45, 8
TEXTS = 120  # without labels, for the student

pytestmark = pytest.mark.skipif(not group.is_gloo_available(), reason="this build of torch has no gloo")


def work(output: str, checkpoint: str, data: str) -> None:
    """What each process of the launch does: teacher and student, and the rows that its batches held."""
    from core.data import load as read
    from distill.experiment_run import Run
    from distill.stages import make_student, make_teacher
    from distill.trainer import DistillationTrainer

    torch.set_num_threads(1)
    distributed.begin()
    processes, seen = distributed.size(), []
    real = DistillationTrainer.loss_terms

    def watched(self: Any, model: Any, inputs: Any, names: Any) -> Any:
        if model.training:
            rows = distributed.join(inputs["row"])[: inputs.get("real")].tolist()
            seen.append([Path(self.args.output_dir).name, rows])
        return real(self, model, inputs, names)

    DistillationTrainer.loss_terms = watched
    training = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": BATCH // processes,
        "learning_rate": 3.0e-3,
        "head_learning_rate": 1.0e-2,
        "metric_for_best_model": "eval_loss",
        "precision": "fp32",
        "logging_steps": 1,
    }
    teacher = {"origin": "pretrained", "name_or_path": checkpoint, "max_length": 24, "dtype": "float32"}
    shape = {"layers": 1, "hidden_size": 16, "attention_heads": 2, "intermediate_size": 32, "max_length": 24}
    experiment = Experiment.model_validate(
        {
            "name": "tiny",
            "output": output,
            "seed": 11,
            "data": json.loads(data),
            # Gently: by Adam's first steps rounding would grow into another teacher, with other targets.
            "teacher": teacher | {"dropout": 0.0, "training": training | {"learning_rate": 2.0e-4}},
            "student": shape | {"init": "random", "dropout": 0.0, "training": training},
            "losses": SHARED,
            "targets": {"cache_dir": f"{output}/cache"},
        }
    )
    corpus = read(experiment.data, experiment.seed)
    run = Run(experiment, corpus, Taxonomy.of(corpus.splits["train"]), {"command": ["test"]}, False)
    make_student(run, make_teacher(run))
    print("the first process alone says this")
    if distributed.rank() == 0:
        Path(output, "seen.json").write_text(json.dumps(seen))
    distributed.end()


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path, data: dict[str, list[str]]) -> Path:
    """A folder with the outputs `1` and `2`: the same training in as many processes."""
    folder = tmp_path_factory.mktemp("launched")
    lines = Path(data["train"][0]).read_text().splitlines(keepends=True)
    (folder / "train.jsonl").write_text("".join(lines[:ROWS]))
    texts = [json.dumps({"text": f"{number} " + "why " * 20}) + "\n" for number in range(TEXTS)]
    (folder / "texts.jsonl").write_text("".join(texts))
    given_texts = {"unlabelled": [str(folder / "texts.jsonl")]}
    files = json.dumps({**data, "train": [str(folder / "train.jsonl")], **given_texts})
    running = []
    for processes in (1, 2):
        (folder / str(processes)).mkdir()
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
        given = [__file__, str(folder / str(processes)), str(tiny_checkpoint), files]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd(), "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, *(torchrun if processes > 1 else []), *given]
        running.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
    for process in running:
        out, error = process.communicate(timeout=300)
        assert process.returncode == 0, error[-3000:]
        assert out.count("the first process alone says this") == 1
    return folder


def history(output: Path, stage: str) -> list[dict[str, float]]:
    folders = (output / "training" / stage).glob("checkpoint-*")
    last = max(folders, key=lambda folder: int(folder.name.partition("-")[2]))
    state = json.loads((last / "trainer_state.json").read_text())
    timed = ("runtime", "per_second")
    return [{key: of[key] for key in of if not key.endswith(timed)} for of in state["log_history"]]


@pytest.mark.parametrize("stage", ["teacher", "student"])
def test_two_processes_have_the_losses_of_one(launched: Path, stage: str) -> None:
    one, two = (history(launched / name, stage) for name in "12")
    assert len(one) == len(two) > 12
    for alone, together in zip(one, two, strict=True):
        assert together == pytest.approx(alone, rel=1e-4, abs=1e-4)
    assert one[0]["loss"] != pytest.approx(one[-2]["loss"], rel=1e-2), "nothing was learnt, so nothing was compared"


def test_together_they_see_the_batches_of_one(launched: Path) -> None:
    one, two = (json.loads((launched / name / "seen.json").read_text()) for name in "12")
    assert [(stage, sorted(rows)) for stage, rows in two] == [(stage, sorted(rows)) for stage, rows in one]
    assert [len(rows) for _, rows in two[:6]] == [8, 8, 8, 8, 8, 5]
    assert sorted(row for _, rows in two[:6] for row in rows) == list(range(ROWS))
    epoch = [rows for stage, rows in two if stage == "student"][:21]
    assert sorted(row for rows in epoch for row in rows) == list(range(ROWS + TEXTS))
    assert any(min(rows) >= ROWS for rows in epoch)  # a batch without any label


@pytest.mark.parametrize(("processes", "expected"), [(1, 12), (2, 24)])
def test_texts_of_like_length_are_sought_for_the_whole_batch(
    monkeypatch: pytest.MonkeyPatch, processes: int, expected: int
) -> None:
    from datasets import Dataset

    from distill.trainer import DistillationTrainer

    trainer = DistillationTrainer.__new__(DistillationTrainer)
    trainer.args = SimpleNamespace(group_by_length=True, train_batch_size=6, gradient_accumulation_steps=2, seed=1)
    monkeypatch.setattr(distributed, "size", lambda: processes)
    sampler = trainer._get_train_sampler(Dataset.from_dict({"input_ids": [[1] * (1 + n % 7) for n in range(30)]}))
    assert sampler.batch_size == expected


def test_the_teacher_is_asked_by_both_and_never_twice(launched: Path) -> None:
    from safetensors.numpy import load_file

    found = (launched / "2" / "cache").rglob("shard-*")
    plain = [shard for shard in map(load_file, found) if "hidden" not in shard]
    hashes = [digest.tobytes() for shard in plain for digest in shard["hashes"]]
    assert len(plain) == 2
    assert len(hashes) == len(set(hashes))


def test_with_one_process_everything_is_plain_work(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    distributed.begin()
    rows = torch.ones(2, 3)
    assert (distributed.size(), distributed.rank(), distributed.promised()) == (1, 0, 1)
    assert distributed.join(rows) is rows
    assert distributed.by_first(lambda: 5) == distributed.in_turn(lambda: 5) == 5
    assert distributed.means({"a": 2.0}) == {"a": 2.0}
    assert distributed.any_of(True)
    assert not distributed.any_of(False)


def test_a_launcher_that_fell_back_to_one_process_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with pytest.raises(UserError, match="started one: on CPUs launch with torchrun"):
        distributed.begin()


def test_fewer_processes_than_promised_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"promised 2 processes \(WORLD_SIZE\), but this one works with 1"):
        distributed.confirm(distributed.size())


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match=r"more processes on this machine than it has GPUs \(1\): start one for each"):
        distributed.begin()


if __name__ == "__main__":
    work(*sys.argv[1:])
