"""Every entry point teaches, refuses and exits in the same way."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core.cli import run
from core.errors import UserError
from core.schema import Experiment, Student

Work = Callable[[Experiment, argparse.Namespace], int]
Door = Callable[..., int]


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "x.yaml"
    path.write_text("name: tiny\noutput: out\ndata: {synthetic: true}\n")
    return str(path)


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Door:
    """Call the entry point with arguments; gives the exit status."""

    def call(
        work: Work,
        *arguments: str,
        resume: bool = True,
        needs_checkpoint: bool = False,
        sections: tuple[str, ...] = ("student", "data"),
    ) -> int:
        monkeypatch.setattr(sys, "argv", ["door", *arguments])
        with pytest.raises(SystemExit) as caught:
            run(
                work,
                module="distill.train",
                purpose="Train a student.",
                sections=sections,
                flags={"resume": "go on at 100 % of the last step", "dry-run": "only check"} if resume else {},
                needs_checkpoint=needs_checkpoint,
                examples=["python -m distill.train --config configs/small.yaml"],
                statuses={1: "a target is missed"},
            )
        assert isinstance(caught.value.code, int)
        return caught.value.code

    return call


def nothing(experiment: Experiment, arguments: argparse.Namespace) -> int:
    return 0


def raising(error: BaseException) -> Work:
    def work(experiment: Experiment, arguments: argparse.Namespace) -> int:
        raise error

    return work


def test_work_gets_the_experiment_and_the_flags_and_gives_the_status(door: Door, config: str) -> None:
    seen: list[object] = []

    def work(experiment: Experiment, arguments: argparse.Namespace) -> int:
        seen.extend([experiment.name, experiment.student.layers, experiment.seed, arguments.resume, arguments.dry_run])
        return 1

    # Overrides stand on both sides of a flag: argparse alone would refuse the second.
    assert door(work, "--config", config, "student.layers=3", "--resume", "seed=7") == 1
    assert seen == ["tiny", 3, 7, True, False]


def test_help_teaches_from_the_schema(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    assert door(nothing, "--help") == 0
    text = capsys.readouterr().out
    attention_heads = Student.model_fields["attention_heads"].description
    assert attention_heads is not None
    assert f"  student.attention_heads = 12  (whole number at least 1)\n      {attention_heads}\n" in text
    assert "student.training.learning_rate = 5.0e-05  (number above 0)" in text  # as YAML reads it
    assert "student.init = minilm  (minilm | teacher | random | checkpoint)" in text
    assert "data.max_rows = null  (whole number at least 1 or null)" in text
    assert "data.train[].path = null  (path or null)" in text
    assert "teacher.layers" not in text  # not one of the named sections
    assert "Train a student." in text
    assert "python -m distill.train --config configs/small.yaml" in text
    assert "    1  a target is missed" in text
    assert "  130  interrupted" in text
    assert "go on at 100 % of the last step" in text


def test_help_about_an_unknown_section_is_a_programming_error(door: Door) -> None:
    with pytest.raises(ValueError, match="no key 'studnt'"):
        door(nothing, "--help", sections=("studnt",))


@pytest.mark.parametrize("arguments", [(), ("--config",), ("--config", "x", "--resum"), ("--config", "x", "--nope")])
def test_mistakes_in_the_arguments_exit_2(
    door: Door, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert door(nothing, *arguments) == 2
    assert "usage: python -m distill.train" in capsys.readouterr().err


def test_mistakes_in_the_configuration_exit_2(door: Door, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert door(nothing, "--config", config, "student.layerz=3", "nonsense") == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: 2 mistakes in {config} with its overrides:\n")
    assert 'did you mean "layers"?' in error


def test_a_user_error_is_a_sentence(door: Door, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert door(raising(UserError("the data is empty: add rows")), "--config", config) == 2
    assert capsys.readouterr().err == "error: the data is empty: add rows\n"


def test_a_needed_checkpoint_is_asked_for(door: Door, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert door(nothing, "--config", config, needs_checkpoint=True) == 2
    assert "add checkpoint=FOLDER" in capsys.readouterr().err
    assert door(nothing, "--config", config, "checkpoint=there", needs_checkpoint=True) == 0


@pytest.mark.parametrize("resume", [True, False])
def test_interruption_exits_130(door: Door, config: str, resume: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert door(raising(KeyboardInterrupt()), "--config", config, resume=resume) == 130
    remedy = "; run the same command with --resume to continue" if resume else ""
    assert capsys.readouterr().err == f"interrupted{remedy}\n"


@pytest.mark.parametrize(
    ("number", "reason"), [(13, "Permission denied"), (20, "Not a directory"), (28, "No space left on device")]
)
def test_what_the_machine_refuses_is_a_sentence(
    door: Door, config: str, number: int, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door(raising(OSError(number, reason, "/there")), "--config", config) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {reason}: /there; ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("error", [FileNotFoundError(2, "No such file", "/there"), ZeroDivisionError()])
def test_a_mistake_in_the_code_keeps_its_traceback(door: Door, config: str, error: Exception) -> None:
    with pytest.raises(type(error)):
        door(raising(error), "--config", config)


@pytest.mark.parametrize("lines", [1, 100_000])  # one line stays in the buffer until the end
def test_a_reader_that_leaves_is_no_error(config: str, lines: int) -> None:
    code = "import sys\nfrom core.cli import run\n"
    code += f"def work(e, a):\n    sys.stdin.read()\n    for _ in range({lines}): print('x' * 99)\n    return 0\n"
    code += "run(work, module='m', purpose='p', sections=[])"
    root, pipe = Path(__file__).parent.parent, subprocess.PIPE
    command = [sys.executable, "-c", code, "--config", config]
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}  # else nothing stays in the buffer
    with subprocess.Popen(command, cwd=root, env=environment, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.close()  # only now does the work print
        assert process.stderr.read() == b""
    assert process.returncode == 141
