"""benchmarks: their arithmetic by hand, both trainers on tiny models, every command's help; nothing has to be fast."""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from benchmarks import (
    ablation,
    ablation_page,
    caching,
    memory,
    memory_page,
    page,
    rounds,
    static_peer,
    subjects,
    training,
)
from benchmarks.elsewhere import answers
from benchmarks.training_sides import ours, theirs
from benchmarks.training_task import Task, clocked, in_own_process
from benchmarks.watching import Watched
from core import manifest
from core.config import load
from core.data import load as load_data
from core.errors import UserError
from core.model import EncoderSpec, SentenceEncoder, build
from core.pretrained import load_encoder, write_encoder
from core.schema import Experiment
from distill import mine

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "benchmarks").glob("*.py"))
COMMANDS = ("training", "caching", "memory", "ablation")
TINY = """
name: tiny
output: {folder}/out
data: {{train: {train}, validation: {validation}}}
teacher: {{origin: pretrained, name_or_path: {folder}/mpnet, max_length: 24}}
student:
  {{layers: 1, hidden_size: 32, attention_heads: 4, intermediate_size: 64, init: teacher, projection: false,
    max_length: 16, training: {{per_device_train_batch_size: 8, precision: fp32}}}}
"""


@pytest.fixture
def config(tmp_path: Path, data: dict[str, list[str]], tiny_encoder: SentenceEncoder, tokenizer_folder: Path) -> Path:
    """An experiment of the tiny corpus and a tiny teacher."""
    (tmp_path / "mpnet").mkdir()
    write_encoder(tmp_path / "mpnet", tiny_encoder, 24, tokenizer_folder)
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY.format(folder=tmp_path, **data))
    return path


@pytest.fixture
def experiment(config: Path) -> Experiment:
    return load(config)


@pytest.fixture
def task(experiment: Experiment, tmp_path: Path) -> Task:
    """Three steps of eight texts."""
    return training.task_of(experiment, subjects.make(experiment, 24, tmp_path), 3, tmp_path)


def side(name: str, *rates: float) -> rounds.Side:
    return rounds.Side(name=name, timings=tuple(rounds.Timing(seconds=1.0, tokens=int(rate)) for rate in rates))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_says_what_it_is_and_stays_small(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))
    assert len(path.read_text().splitlines()) <= 150


def test_nothing_shipped_imports_them_and_the_readme_names_every_command() -> None:
    for room in ("core", "eval", "distill", "prune", "export"):
        assert not [path for path in (ROOT / room).rglob("*.py") if "benchmarks" in path.read_text().split()]
    described = (ROOT / "benchmarks" / "README.md").read_text()
    assert all(f"python -m benchmarks.{name} --config" in described for name in COMMANDS)


def test_help_teaches_without_the_libraries() -> None:
    script = (
        "import importlib, sys\nsys.argv[1:] = ['--help']\n"
        f"for name in {COMMANDS}:\n"
        "    try: importlib.import_module(f'benchmarks.{name}').main()\n"
        "    except SystemExit as end: assert end.code == 0\n"
        "assert not {'torch', 'transformers', 'scipy', 'sentence_transformers'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    assert " ".join(done.stdout.split()).count("(default ") == 6
    assert all(f"python -m benchmarks.{name} --config configs/" in done.stdout for name in COMMANDS)


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("--rounds=1", "1 is not a whole number of at least 2"),
        ("--steps=many", "many is not a whole number of at least 2"),
        ("student.training.gradient_accumulation_steps=2", "set student.training.gradient_accumulation_steps=1"),
        ("student.layer=2", 'did you mean "layers"?'),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(
    argument: str, told: str, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["training", "--config", str(config), argument])
    with pytest.raises(SystemExit, match="2"):
        training.main()
    assert told in capsys.readouterr().err


def test_a_ratio_by_hand() -> None:
    # The rounds' ratios are 2 and 8: their geometric mean is 4, and the logarithms lie ln 2 to either side of it, so
    # the standard error is ln 2 and the interval reaches 12.706 ln 2 (Student's t, one degree of freedom).
    found = rounds.ratio(side("ours", 200, 800), side("theirs", 100, 100), target=1.3)
    assert found.value == pytest.approx(4.0)
    assert found.interval == pytest.approx((4 * 2**-12.7062, 4 * 2**12.7062), rel=1e-4)
    assert found.verdict == "undecided"
    with pytest.raises(ValueError, match="two paired rounds or more"):
        rounds.ratio(side("ours", 200), side("theirs", 100))


@pytest.mark.parametrize(("target", "word"), [(1.9, "met"), (2.1, "missed"), (None, None)])
def test_a_verdict_needs_the_whole_interval(target: float | None, word: str | None) -> None:
    assert rounds.ratio(side("ours", 200, 200, 200), side("theirs", 100, 100, 100), target).verdict == word


def test_sides_take_turns_and_every_other_round_runs_backwards() -> None:
    order: list[str] = []

    def timed(name: str) -> Callable[[], rounds.Timing]:
        def call() -> rounds.Timing:
            order.append(name)
            return rounds.Timing(seconds=0.5, tokens=len(order))

        return call

    found, noise = rounds.in_turn({name: timed(name) for name in "abc"}, rounds=3)
    assert "".join(order) == "abccbaabc"
    assert [tuple(timing.tokens for timing in each.timings) for each in found] == [(1, 6, 7), (2, 5, 8), (3, 4, 9)]
    assert found[0].rates == (2.0, 12.0, 14.0)
    assert noise.samples == rounds.REFERENCE_RUNS * 10


def test_the_clock_runs_from_the_first_batch_to_the_last_step(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([1.0, 1.5, 2.0, 4.0])
    monkeypatch.setattr("benchmarks.training_task.time", SimpleNamespace(perf_counter=lambda: next(moments)))
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters())
    with clocked(model) as clock:
        for _ in range(2):
            model(torch.ones(1, 2)).sum().backward()
            optimizer.step()
    model(torch.ones(1, 2))  # no longer looked at
    optimizer.step()
    assert (clock.entered, clock.moved) == ([1.0, 2.0], [1.5, 4.0])
    assert clock.seconds(2) == 3.0
    with pytest.raises(RuntimeError, match="2 optimiser steps were taken instead of 3"):
        clock.seconds(3)


def test_the_models_are_those_of_the_experiment_and_open_on_both_sides(experiment: Experiment, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    from core.torch_encoder import TorchEncoder
    from distill.encoder_teacher import EncoderTeacher

    made = subjects.make(experiment, 24, tmp_path)
    assert len(set(made.rows.texts)) == 24
    teacher = EncoderTeacher.open(made.teacher)
    assert teacher.encoder.tokenizer.max_length == 24
    assert load_encoder(made.teacher).dtype == torch.float16
    pupil = load_encoder(made.student)
    assert (pupil.spec.layers, pupil.dtype) == (1, torch.float32)
    other = SentenceTransformer(str(made.student), device="cpu")
    assert other.max_seq_length == 16
    mine = TorchEncoder(pupil, EncoderTeacher.open(made.student).encoder.tokenizer).encode(made.rows.texts)
    np.testing.assert_allclose(mine, other.encode(list(made.rows.texts)), atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (["student.architecture=convolution", "student.init=random"], r"set student\.architecture=mpnet"),
        (["student.init=checkpoint", "student.name_or_path={folder}/mpnet"], r"set student\.init=random student\.name"),
        (["student.teacher_layers=search"], r"set student\.teacher_layers=null"),
        (["student.excerpt.tokens=8", "student.excerpt.first=2"], r"set student\.excerpt=null"),
    ],
)
def test_a_student_that_cannot_be_timed_is_refused(changed: list[str], told: str, config: Path, tmp_path: Path) -> None:
    given = [one.format(folder=tmp_path) for one in changed]
    with pytest.raises(UserError, match=told):
        subjects.make(load(config, given), 24, tmp_path)
    remedies = ["student.architecture=mpnet", "student.init=random", "student.name_or_path=null"]
    remedies += ["student.teacher_layers=null", "student.excerpt=null"]
    assert subjects.make(load(config, [*given, *remedies]), 24, tmp_path).student.is_dir()


def test_a_teacher_that_only_we_can_open_is_refused(config: Path, tmp_path: Path, tokenizer_folder: Path) -> None:
    torch.manual_seed(3)
    cut = build(EncoderSpec(2, 32, 4, 64, layer_heads=((0, 1), (0, 1, 2))))
    write_encoder(tmp_path / "mpnet", cut, 24, tokenizer_folder)
    with pytest.raises(UserError, match="mpnet was pruned, so sentence-transformers cannot open it"):
        subjects.make(load(config, ["student.init=random"]), 24, tmp_path)


def test_texts_are_repeated_where_the_steps_need_more(experiment: Experiment, tmp_path: Path) -> None:
    made = subjects.make(experiment, 24, tmp_path)
    long = training.task_of(experiment, made, 5, tmp_path)
    assert (len(long.rows), long.steps) == (40, 5)
    assert long.rows.texts[24:] == made.rows.texts[:16]
    assert np.array_equal(long.embeddings[24:], long.embeddings[:16])
    np.testing.assert_allclose(np.linalg.norm(long.embeddings, axis=1), 1.0, atol=1e-3)


def test_both_trainers_take_the_same_steps_over_the_same_tokens(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")  # transformers leaves its last choice there
    tokens = sum(map(len, task.tokenizer().encode(task.rows.texts)))
    assert task.tokenizer().max_length == 16
    for timing in (ours(task), theirs(task)):
        assert timing.tokens == tokens
        assert 0 < timing.seconds < 60


def own_process(task: Task) -> tuple[int, int]:
    return os.getpid(), task.steps


def test_a_training_has_a_process_of_its_own(task: Task) -> None:
    process, steps = in_own_process(own_process, task)
    assert process != os.getpid()
    assert steps == 3


def test_the_race_of_the_trainers(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[tuple[str, str, float, int]] = []

    def here(side: Callable[[Task], rounds.Timing], task: Task) -> rounds.Timing:
        settings = task.training
        ran.append((side.__name__, settings.precision, settings.num_train_epochs, settings.evaluations_per_epoch))
        return rounds.Timing(seconds={"fp32": 4.5, "bf16": 1.5}[settings.precision], tokens=1000)

    monkeypatch.setattr("benchmarks.training_task.in_own_process", here)
    faster = {"training": experiment.student.training.model_copy(update={"precision": "bf16"})}
    experiment = experiment.model_copy(update={"student": experiment.student.model_copy(update=faster)})
    race = training.measure(experiment, texts=24, steps=3, rounds=2)
    assert sorted(set(ran)) == [("ours", "bf16", 1.0, 1), ("theirs", "bf16", 1.0, 1), ("theirs", "fp32", 1.0, 1)]
    assert [(ratio.target, ratio.value, ratio.verdict) for ratio in race.ratios] == [
        (1.3, 1.0, "missed"), (4.0, pytest.approx(3.0), "missed"),
    ]  # fmt: skip
    assert not race.met
    path = page.write(race, "training", tmp_path / "new")
    assert page.Race.model_validate_json(path.read_text()) == race
    page.show_race(race, Console(width=160))
    shown = capsys.readouterr().out
    for words in (
        "3 steps of 8 texts (24 distinct ones)",
        "at most 16 tokens",
        "missed",
        "sentence-transformers 5",
        "cores",
    ):
        assert words in " ".join(shown.split())


def test_caching_is_timed_from_an_empty_cache_and_a_full_one_costs_no_teacher(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distill.encoder_teacher import EncoderTeacher

    passes: list[int] = []
    outputs = EncoderTeacher.outputs

    def counted(teacher: EncoderTeacher, texts: Sequence[str], *rest: Any) -> Any:
        passes.append(len(texts))
        return outputs(teacher, texts, *rest)

    monkeypatch.setattr(EncoderTeacher, "outputs", counted)
    race = caching.measure(experiment, texts=24, rounds=2)
    assert passes == [24, 24, 24]  # to warm up, and once a round
    assert race.sides[0].name == "ours"
    assert race.sides[0].timings[0].tokens == race.sides[1].timings[1].tokens
    assert race.ratios[0].target == 1.3
    told = " ".join(race.notes)
    assert "24 texts in the cache" in told
    assert float(told.partition("lowest ")[2].partition(" ")[0].rstrip(".")) > 0.99


def test_memory_is_that_of_a_short_training_thrown_away(
    config: Path, experiment: Experiment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands: list[Sequence[str]] = []

    def watched(command: Sequence[str]) -> Watched:
        commands.append(command)
        return Watched(largest_process_gb=2.5, together_gb=6.5, seconds=1.0, status=len(commands) - 1)

    monkeypatch.setattr("benchmarks.watching.watch", watched)
    footprint = memory.measure(experiment, config, ["seed=7"], 64)
    assert footprint.verdict == "missed"
    memory_page.show_footprint(footprint, Console(width=160))
    assert "6.50" in capsys.readouterr().out
    (command,) = commands
    assert command[1:5] == ["-m", "distill.train", "--config", str(config)]
    run_of = load(config, command[5:])
    assert (run_of.seed, run_of.data.max_rows, run_of.evaluation.latency_calls) == (7, 64, 0)
    assert not run_of.output.exists()
    assert "teacher " in footprint.did
    labels = ["losses.embedding_cosine=0", "losses.logits_kd=0", "student.init=random"]
    assert memory.teacher_of(load(config, labels)) == "no teacher"
    assert run_of.targets.cache_dir.parent == run_of.output.parent
    with pytest.raises(UserError, match="exit status 1"):
        memory.measure(experiment, config, [], 64)


def test_watching_sees_the_largest_process_and_all_of_them_together() -> None:
    held = "import subprocess, sys, time; block = b'x' * 150_000_000"
    inner = f"{held}; time.sleep(2)"
    outer = f"{held}; sys.exit(subprocess.run([sys.executable, '-c', {inner!r}]).returncode + 3)"
    watching = f"watch([sys.executable, '-c', {outer!r}])"
    script = f"import sys; from benchmarks.watching import watch; print({watching}.model_dump_json())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=60)
    found = Watched.model_validate_json(done.stdout)
    assert found.status == 3
    assert 0.15 < found.largest_process_gb < 0.28
    assert 0.30 < found.together_gb < 0.45
    assert found.seconds > 2


def test_every_row_of_the_ablation_is_a_configuration_of_its_own(experiment: Experiment, config: Path) -> None:
    folders = set()
    with config.open("a") as file:
        file.write("losses: {similarity: 1, attention_kl: 1, embedding_mse: {weight: 1, decay: linear}}\n")
    for name in ablation.ROWS:
        changed = ablation.overrides(
            name, experiment, experiment.data.train[0].path if name == ablation.MINED else None
        )
        row = load(config, changed)
        folders.add(row.output)
        assert row.losses.terms().keys() == ablation.ROWS[name].keys()
        assert (row.heads.kind == "logistic") == row.losses.terms().keys().isdisjoint(("task", "logits_kd"))
        assert len(row.data.train) == len(experiment.data.train) + (name == ablation.MINED)
    assert len(folders) == len(ablation.ROWS)


def test_the_ablation_counts_gains_over_plain_on_the_same_resamples(experiment: Experiment) -> None:
    rows = load_data(experiment.data, experiment.seed).splits["validation"]
    labels = rows.labels
    right, half = labels == 1, (labels == 1) & (np.arange(len(labels)) % 4 > 1)
    plain, better = ablation_page.judge({"plain": half, "embedding only": right}, "plain", rows, seed=13)
    assert (plain.gain, plain.gain_interval) == (0.0, (0.0, 0.0))
    assert better.f1 == 1.0
    assert better.gain == pytest.approx(1 - plain.f1)
    assert 0 <= better.gain_interval[0] < better.gain < better.gain_interval[1]
    assert "| embedding only | 1.000 (1.000–1.000) | 0.0000 |" in ablation_page.markdown([plain, better])


def test_hard_negatives_are_found_anew_for_another_student(
    config: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Experiment] = []

    def search(experiment: Experiment) -> int:
        asked.append(experiment)
        experiment.output.mkdir(exist_ok=True)
        models = {"student": experiment.checkpoint, "teacher": experiment.mining.teacher}
        account = {name: {"digest": manifest.read(Path(str(folder))).digest} for name, folder in models.items()}
        mine.write(experiment.output, [], account)
        return 0

    monkeypatch.setattr(mine, "work", search)
    arguments = argparse.Namespace(config=config, overrides=["teacher.training={}"])
    base = load(config, arguments.overrides)
    row = base.output / ablation.folder_of(ablation.MINED_FROM)
    for name in ("student", "teacher"):
        shutil.copytree(tiny_checkpoint, row / name)
    for _ in range(2):
        assert ablation.mine(arguments, base).is_file()
    (once,) = asked
    assert (once.checkpoint, once.mining.teacher) == (row / "student", row / "teacher")  # the one that it learnt from
    (row / "student" / "more.txt").write_text("trained again")
    manifest.write(row / "student", {**manifest.read(tiny_checkpoint).fields})
    ablation.mine(arguments, base)
    assert len(asked) == 2
    (base.output / "mined" / mine.FILE).unlink()
    given = load(config, ["teacher.training=null"])
    shutil.copytree(tiny_checkpoint, tmp_path / "mpnet", dirs_exist_ok=True)
    ablation.mine(argparse.Namespace(config=config, overrides=["teacher.training=null"]), given)
    assert asked[-1].mining.teacher == tmp_path / "mpnet"


def test_a_missing_interpreter_and_a_failing_script_are_told_in_a_sentence(tmp_path: Path) -> None:
    script, python = tmp_path / "script.py", Path(sys.executable)
    with (
        pytest.raises(UserError, match="there is no interpreter at"),
        answers(tmp_path / "x", script, tmp_path, [], "a"),
    ):
        pass
    with pytest.raises(UserError, match="there is no interpreter at"):
        static_peer.distil(tmp_path / "x", tmp_path, ("Hi",), tmp_path)
    script.write_text("raise SystemExit('no such thing')")
    with (
        pytest.raises(UserError, match="could not do it: no such thing"),
        answers(python, script, tmp_path, [], "do it"),
    ):
        pass
    script.write_text("import os, sys; open(sys.argv[3] + '/a', 'w').write(open(sys.argv[2]).read() + os.environ['B'])")
    with answers(python, script, tmp_path, ["Hi"], "do it", {"B": "c"}) as written:
        assert (written / "a").read_text() == '["Hi"]c'
    assert not written.exists()
