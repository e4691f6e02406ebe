"""The commands as users type them: a whole run, interrupted, resumed, judged; refusals; every shipped config."""

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
from argparse import Namespace
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from core.config import load
from core.corpus.generate import generate
from distill import train
from eval import report
from eval.schema import SYNTHETIC

ROOT = Path(__file__).parent.parent
CHECKPOINTS = ("teacher", "student", "student-fp32", "student-int8")
STEPS = 14  # of the student: 200 rows in batches of 32, two epochs
SMALL = [
    "teacher.max_length=16",
    "teacher.training.num_train_epochs=1",
    "teacher.training.evaluations_per_epoch=1",
    "teacher.training.logging_steps=1",
    "student.layers=1",
    "student.max_length=16",
    "student.training.num_train_epochs=2",
    "student.training.evaluations_per_epoch=1",
    "student.training.logging_steps=1",
    "export.parity.texts=50",
    "export.parity.max_flip_rate=0.2",
    "evaluation.grid_seconds=0.5",
    "evaluation.throughput_seconds=0.2",
]
QUICK = [*SMALL, "data.max_rows=200", "teacher.hidden_size=384", "teacher.layers=7"]
# The template of the issue that asked for this project.
TEMPLATE = {
    "model_id": None,
    "timestamp": None,
    "hardware": {"cpu", "cores", "memory_gb", "os"},
    "latency": {"mean_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "max_ms", "std_ms"},
    "accuracy": {
        "binary_f1",
        "binary_precision",
        "binary_recall",
        "family_f1",
        "subfamily_f1",
        "false_positive_rate",
        "false_negative_rate",
        "confusion_matrix",
    },
    "resources": {"model_size_mb", "memory_usage_mb", "cpu_usage_percent"},
    "meets_targets": {"latency", "size", "accuracy", "fpr"},
}


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    status: int
    out: str
    error: str

    @property
    def training_lines(self) -> list[dict[str, float]]:
        """What the Trainer logged, in order."""
        return [ast.literal_eval(line) for line in self.out.splitlines() if line.startswith("{'loss'")]


def command(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def python(module: str, *arguments: str) -> Done:
    done = subprocess.run(command(module, *arguments), cwd=ROOT, capture_output=True, text=True)
    return Done(done.returncode, done.stdout, done.stderr)


def interrupted(*arguments: str) -> Done:
    """`distill.train`, sent SIGINT as soon as a step of the student's training has been logged."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(
        command("distill.train", *arguments), cwd=ROOT, text=True, env=environment, **pipes
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("{'loss'") and "loss_logits_kd" in line:
                process.send_signal(signal.SIGINT)
                break
        rest, error = process.communicate(timeout=300)
        return Done(process.returncode, "".join(lines) + rest, error)


@dataclass(frozen=True)
class Road:
    """The quickstart, stopped in the student's training and resumed to the end."""

    output: Path
    arguments: Sequence[str]
    stopped: Done
    left: set[str]
    """What lay in the output folder after the interruption."""
    resumed: Done


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Road:
    folder = tmp_path_factory.mktemp("quickstart")
    output = folder / "out"
    arguments = ["--config", "configs/quickstart.yaml", f"output={output}", f"targets.cache_dir={folder}/cache", *QUICK]
    stopped = interrupted(*arguments)
    left = {str(path.relative_to(output)) for path in output.rglob("*")}
    return Road(output, arguments, stopped, left, python("distill.train", *arguments, "--resume"))


def test_ctrl_c_saves_says_how_to_go_on_and_exits_with_130(road: Road) -> None:
    assert road.stopped.status == 130, road.stopped.error
    assert "finishing this step and saving" in road.stopped.error
    assert road.stopped.error.endswith("interrupted; run the same command with --resume to continue\n")
    assert "Traceback" not in road.stopped.error
    saved = [name for name in road.left if name.startswith("training/student/checkpoint-") and name.count("/") == 2]
    assert saved
    assert road.left & set(CHECKPOINTS) == {"teacher"}


def test_resume_takes_the_teacher_and_goes_on_behind_the_student_s_saved_step(road: Road) -> None:
    assert road.resumed.status == 0, road.resumed.error
    before = [line for line in road.stopped.training_lines if "loss_logits_kd" in line]
    after = road.resumed.training_lines
    assert len(before) + len(after) == STEPS
    assert after[0]["epoch"] > before[-1]["epoch"]
    assert all({"loss_task", "loss_embedding_cosine", "loss_logits_kd"} <= line.keys() for line in after)


def test_the_four_folders_their_reports_and_the_table(road: Road) -> None:
    assert {path.name for path in road.output.iterdir()} == {
        *CHECKPOINTS,
        "config.yaml",
        "training",
        "reports",
        "comparison-validation.md",
    }
    table = (road.output / "comparison-validation.md").read_text()
    assert SYNTHETIC in table
    assert all(name in table.splitlines()[2] for name in CHECKPOINTS)
    for name in CHECKPOINTS:
        judged = report.read(road.output / "reports" / f"{name}-validation")
        assert judged.synthetic == SYNTHETIC
        assert (judged.split, judged.rows) == ("validation", 200)
        assert judged.latency is not None
        left = {path.name for path in (road.output / "reports" / f"{name}-validation").iterdir()}
        assert left == {"report.json", "report.md", "report.html", "predictions.parquet", "calls.parquet"}
        assert f"{judged.accuracy.binary_f1:.3f}" in table
        assert judged.threshold is not None
        assert judged.threshold.rule.startswith("highest recall with FPR < 0.01")
        assert judged.overlap is not None
        assert (judged.overlap.exact, judged.overlap.same_training_rows) == (0, True)
    rows = [line for line in table.splitlines() if line.startswith("| target: ")]
    assert len(rows) == 8
    assert {cell.strip() for row in rows for cell in row.split("|")[2:-1]} <= {"met", "missed", "undecided"}
    for word in ("synthetic", "target: fpr", "student-int8"):
        assert word in road.resumed.out  # on the terminal too


def test_the_tools_that_read_reports(road: Road) -> None:
    reports = [str(road.output / "reports" / f"{name}-validation") for name in CHECKPOINTS]
    again = python("eval.recompute", *reports)
    assert again.status == 0, again.out + again.error
    compared = python("eval.compare", *reports[2:], "--output", str(road.output.parent / "compared"))
    assert compared.status == 0, compared.error
    gated = python("eval.gate", reports[3], "--baseline", reports[2])
    assert gated.status in (0, 1, 3), gated.error
    board = road.output.parent / "dashboard.html"
    drawn = python("eval.dashboard", str(road.output), "--output", str(board))
    assert drawn.status == 0, drawn.error
    assert all(name in board.read_text() for name in CHECKPOINTS)


def test_int8_is_the_smaller_folder(road: Road) -> None:
    sizes = {
        name: report.read(road.output / "reports" / f"{name}-validation").resources.model_size_mb
        for name in CHECKPOINTS
    }
    assert sizes["student-int8"] < 0.4 * sizes["student-fp32"]


def test_the_saved_configuration_is_resolved_and_complete(road: Road) -> None:
    stored = yaml.safe_load((road.output / "config.yaml").read_text())
    assert stored["teacher"]["layers"] == 7
    assert stored["losses"]["temperature"] == 2.0  # a default that quickstart.yaml does not name
    again = load(road.output / "config.yaml")
    overrides = [argument for argument in road.arguments if "=" in argument]
    assert again == load(ROOT / "configs" / "quickstart.yaml", overrides)


def test_step_checkpoints_hold_reports(road: Road) -> None:
    for stage in ("teacher", "student"):
        reports = list((road.output / "training" / stage).glob("checkpoint-*/report.json"))
        assert reports
        assert all(report.read(path).synthetic == SYNTHETIC for path in reports)


def test_a_second_run_is_refused_with_both_ways_out(road: Road) -> None:
    before = (road.output / "config.yaml").read_bytes()
    done = python("distill.train", *road.arguments, "seed=99")
    assert done.status == 2
    assert done.error.startswith("error: ")
    assert "--resume" in done.error
    assert "--overwrite" in done.error
    assert (road.output / "config.yaml").read_bytes() == before


def test_resuming_a_finished_run_trains_nothing_even_after_a_move(
    road: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distill import experiment_run

    moved = tmp_path / "moved"
    shutil.copytree(road.output, moved, ignore=shutil.ignore_patterns("training"))
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(experiment_run, "fit", None)  # would fail if it were called
    monkeypatch.setattr(train, "call", lambda module, _, folder, **__: asked.append((module, folder.name)))
    monkeypatch.setattr(train, "judge", lambda _, folders: asked.extend(("judge", f.name) for f in folders))
    overrides = [argument for argument in road.arguments if "=" in argument]
    experiment = load(ROOT / "configs" / "quickstart.yaml", [*overrides, f"output={moved}"])
    assert train.work(experiment, Namespace(resume=True, overwrite=False)) == 0
    assert asked == [("export.run", "student"), *(("judge", name) for name in CHECKPOINTS)]
    for stage in ("teacher", "student"):
        digests = {(folder / stage / "manifest.yaml").read_bytes() for folder in (road.output, moved)}
        assert len(digests) == 1


def test_the_test_split_is_judged_only_when_asked_for(road: Road, tmp_path: Path) -> None:
    target = f"checkpoint={road.output / 'student-int8'}"
    done = python("eval.run", *road.arguments, f"output={tmp_path}", target, "evaluation.split=test")
    assert done.status in (0, 1, 3), done.error
    folder = tmp_path / "reports" / "student-int8-test"
    judged = json.loads((folder / "report.json").read_text())
    for key, inner in TEMPLATE.items():
        assert key in judged
        assert inner is None or inner <= judged[key].keys()
    assert judged["accuracy"]["confusion_matrix"].keys() >= {"tp", "fp", "tn", "fn"}
    assert judged["split"] == "test"
    met = judged["meets_targets"].values()
    assert done.status == (0 if all(met) else 1 if False in met else 3)
    assert str(folder / "report.json") in done.out


def test_training_never_reads_test(road: Road) -> None:
    refused = python("distill.train", *road.arguments, "evaluation.split=test", "--overwrite")
    assert refused.status == 2
    assert "evaluation.split=test" in refused.error
    assert (road.output / "student").is_dir()  # refused before --overwrite deletes anything
    fingerprints = yaml.safe_load((road.output / "student" / "manifest.yaml").read_text())["provenance"]["fingerprints"]
    assert fingerprints.keys() == {"train", "validation"}


@pytest.mark.parametrize("name", ["embeddings_quantized_int8.onnx", "classifier_binary.onnx", "tokenizer.json"])
def test_one_flipped_byte_is_found_before_anything_is_judged(road: Road, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "student-int8"
    shutil.copytree(road.output / "student-int8", folder)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    done = python("eval.run", *road.arguments, f"output={tmp_path}", f"checkpoint={folder}")
    assert done.status == 2
    assert done.error.startswith(f"error: {folder / name} does not match its SHA-256")
    assert "Traceback" not in done.error


def test_fit_heads_on_the_finished_student(road: Road, tmp_path: Path) -> None:
    target = f"checkpoint={road.output / 'student-int8'}"
    done = python("distill.fit_heads", *road.arguments, f"output={tmp_path}", target)
    assert done.status == 0, done.error
    assert (tmp_path / "student-int8-logistic" / "manifest.yaml").is_file()


@pytest.mark.parametrize("module", ["distill.train", "eval.run"])
def test_an_output_that_cannot_be_written_is_one_sentence(module: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    done = python(module, "--config", "configs/quickstart.yaml", f"output={file}/below", f"checkpoint={tmp_path}")
    assert done.status == 2
    assert done.error.count("\n") == 1
    assert done.error.startswith(f"error: cannot write in {file}/below")
    assert "output=FOLDER" in done.error


@pytest.mark.parametrize(
    "module",
    [
        "distill.train",
        "distill.teacher",
        "distill.ensemble",
        "distill.mine",
        "distill.fit_heads",
        "distill.lexical",
        "eval.run",
        "eval.race",
        "eval.fidelity",
        "export.run",
    ],
)
def test_help_teaches_by_example(module: str) -> None:
    done = python(module, "--help")
    assert done.status == 0, done.error
    assert f"python -m {module} --config configs/" in done.out.partition("examples:")[2]
    assert "exit statuses:" in done.out


# The other shipped configurations


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides that put small files of generated texts in place of ../shared/data/threats."""
    folder = tmp_path_factory.mktemp("data")
    of_kind: dict[object, list[dict[str, object]]] = defaultdict(list)
    for index, row in enumerate(generate(13)):
        of_kind[row["subfamily"]].append({**row, "cluster": str(index)})
    splits: dict[str, list[dict[str, object]]] = {"train": [], "validation": [], "test": []}
    for kind, rows in of_kind.items():
        for index, row in enumerate(rows[: 120 if kind == "benign" else 6]):
            splits[list(splits)[index % 3]].append(row)
    for name, rows in splits.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return [*(f"data.{name}=[{folder / name}.jsonl]" for name in splits), "data.extra={}"]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:
    """What `save_pretrained` leaves of an MPNet: here a tiny one."""
    from transformers import AutoTokenizer, MPNetConfig, MPNetModel

    folder = tmp_path_factory.mktemp("pretrained")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    MPNetModel(MPNetConfig(max_position_embeddings=514, initializer_range=0.2, **sizes)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(folder)
    return folder


def test_mpnet_from_a_local_folder_in_one_go(data: list[str], pretrained: Path, tmp_path: Path) -> None:
    where = [f"output={tmp_path / 'out'}", f"targets.cache_dir={tmp_path / 'cache'}"]
    encoders = [f"teacher.name_or_path={pretrained}", "student.init=random", "student.hidden_size=32"]
    encoders += ["student.attention_heads=4", "student.intermediate_size=64"]
    done = python("distill.train", "--config", "configs/mpnet.yaml", *where, *data, *SMALL, *encoders)
    assert done.status == 0, done.error
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {*CHECKPOINTS, "comparison-validation.md"}
    judged = report.read(tmp_path / "out" / "reports" / "student-int8-validation")
    assert judged.synthetic is None  # rows of files: whose they are, only the user knows
    assert SYNTHETIC not in (tmp_path / "out" / "comparison-validation.md").read_text()


def test_mpnet_without_network_ends_in_one_sentence(data: list[str], tmp_path: Path) -> None:
    where = [f"output={tmp_path / 'out'}", "teacher.name_or_path=sentence-transformers/no-such-model"]
    done = python("distill.train", "--config", "configs/mpnet.yaml", *where, *data)
    assert done.status == 2
    assert "Traceback" not in done.error
    (sentence,) = [line for line in done.error.splitlines() if line.startswith("error: ")]
    assert "network access" in sentence
    assert "teacher.name_or_path=FOLDER" in sentence


@pytest.mark.parametrize("name", ["threats", "mpnet"])
def test_shipped_configurations_load(name: str, data: list[str], tmp_path: Path) -> None:
    experiment = load(ROOT / "configs" / f"{name}.yaml", [*data, *SMALL, f"output={tmp_path}"])
    assert experiment.name == name
    assert experiment.data.columns.group == "cluster"
    assert experiment.data.test
    assert experiment.student.layers == 1
