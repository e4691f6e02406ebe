"""The serving registry's choice, derived again from hand-made manifests; and what it cannot serve."""

from __future__ import annotations

import json
import re
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from core import manifest
from core.errors import UserError
from core.manifest import Manifest
from core.schema import Experiment
from eval import quote, run, select
from eval.live.choosing import choose, expand, names
from eval.report import read
from eval.schema.live_choice import Choice, Criteria
from export import run as export_run

FILES = ("embeddings_int8.onnx", "classifier_binary.onnx", "label_encoders.json", "tokenizer.json")


def put(
    models: Path, name: str, p95: object = None, f1: object = None, memory: object = None, status: str = "active",
    files: tuple[str, ...] = FILES, **more: object,
) -> Path:  # fmt: skip
    """A model folder with these figures in its manifest."""
    folder = models / name
    folder.mkdir(parents=True)
    for file in files:
        (folder / file).touch()
    performance = {"p95_latency_ms": p95, "memory_mb": memory}
    manifest: dict[str, Any] = {"name": name, "version": "0.0.1", "status": status, "model_type": "onnx_only"}
    manifest["performance"] = {key: value for key, value in performance.items() if value is not None}
    if f1 is not None:
        manifest["accuracy"] = {"binary_f1": f1}
    (folder / "manifest.yaml").write_text(yaml.safe_dump(manifest | more))
    return folder


def derived(figures: dict[str, tuple[float | None, float | None, float | None]], criteria: str) -> str:
    """The rules said again, from raxe-ce's model_metadata.py and model_registry.py at 0cd953e."""
    best_model, best_score = "", -1.0
    for model_id in sorted(figures):
        p95, f1, memory = figures[model_id]
        latency = 50 if not p95 else max(0, 100 - (p95 - 5))
        accuracy = 50 if not f1 else f1 * 100
        points = {
            "latency": latency,
            "accuracy": accuracy,
            "memory": 50 if not memory else max(0, 100 - (memory - 50) / 2),
            "balanced": (latency * 0.6) + (accuracy * 0.4),
        }[criteria]
        if points > best_score:
            best_model, best_score = model_id, points
    return best_model


@pytest.mark.parametrize("criteria", ["latency", "accuracy", "memory", "balanced"])
@pytest.mark.parametrize(
    "figures",
    [
        {"teacher": (40.0, 0.97, 220.0), "student": (2.5, 0.94, 120.0), "static": (0.2, 0.88, 60.0)},
        {"teacher": (160.0, 0.97, 900.0), "student": (2.5, 0.90, 120.0)},
        {"measured": (60.0, 0.40, 200.0), "silent": (None, None, None)},
        {"b": (3.0, 0.9, 100.0), "a": (3.0, 0.9, 100.0)},
        {"zero": (0.0, 0.0, 0.0), "slow": (300.0, 0.2, 400.0)},
    ],
)
def test_the_choice_is_what_the_rules_give(
    figures: dict[str, tuple[float | None, float | None, float | None]], criteria: Criteria, tmp_path: Path
) -> None:
    for name, values in figures.items():
        put(tmp_path, name, *values)
    assert choose(expand([tmp_path]), criteria).chosen == derived(figures, criteria)


def test_the_points_by_hand(tmp_path: Path) -> None:
    folders = [put(tmp_path, "student", 2.5, 0.94, 120), put(tmp_path, "teacher", 40, 0.97, 220)]
    points: dict[Criteria, list[float]] = {
        "latency": [102.5, 65.0],  # below 5 ms there are more than 100
        "accuracy": [97.0, 94.0],
        "memory": [65.0, 15.0],
        "balanced": [0.6 * 102.5 + 0.4 * 94, 0.6 * 65 + 0.4 * 97],
    }
    for criteria, expected in points.items():
        assert [one.score for one in choose(folders, criteria).scored] == pytest.approx(expected), criteria
    balanced = choose(folders, "balanced").scored[0]
    assert balanced.sentence == "0.6 x 102.50 (P95 2.5 ms: 100 - (2.5 - 5)) + 0.4 x 94.00 (F1 0.94: 100 x 0.94)"


def test_only_active_models_count_where_there_are_any(tmp_path: Path) -> None:
    fast = put(tmp_path, "fast", 1.0, 0.9, status="experimental")
    slow = put(tmp_path, "slow", 50.0, 0.9)
    choice = choose([fast, slow], "latency")
    assert choice.chosen == "slow"
    assert [(one.candidate.model_id, one.considered) for one in choice.scored] == [("slow", True), ("fast", False)]
    alone = choose([fast, put(tmp_path, "old", 0.5, status="deprecated")], "latency")
    assert alone.chosen == "old"  # deprecated or not
    assert any("all are considered" in note for note in alone.notes)


def test_a_manifest_without_figures_gets_fifty_points_and_a_note(tmp_path: Path) -> None:
    """The retired models' manifests say performance.inference_latency.p95_ms, which nobody reads."""
    silent = put(tmp_path, "silent")
    (silent / "manifest.yaml").write_text(
        yaml.safe_dump({"model": {"status": "active"}, "performance": {"inference_latency": {"p95_ms": 4.5}}})
    )
    choice = choose([silent, put(tmp_path, "slow", 60.0, 0.4, status="experimental")], "latency")
    assert choice.chosen == "silent"
    assert choice.scored[0].candidate.status == "experimental"  # it looks for the status elsewhere
    assert choice.scored[0].score == 50.0
    assert any("50 points for it, measured or not: silent" in note for note in choice.notes)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": "ready"}, "status is 'ready'"),
        ({"performance": None}, "performance is None"),
        ({"accuracy": [0.9]}, "accuracy is"),
        ({"model_type": "bundle", "model": None}, "model is None"),
        ({"tokenizer": "mpnet"}, "tokenizer is 'mpnet'"),
        ({"model_type": "bundle", "file_info": {"filename": None}}, "filename is None"),
    ],
)
def test_what_the_registry_does_not_list(change: dict[str, object], reason: str, tmp_path: Path) -> None:
    choice = choose([put(tmp_path, "odd", 1.0, 0.9, **change)], "latency")  # type: ignore[arg-type]
    assert choice.chosen is None
    assert reason in choice.skipped[0].reason
    assert "No models available" in choice.notes[0]


def test_unreadable_folders_are_skipped_not_fatal(tmp_path: Path) -> None:
    good, bare, torn = put(tmp_path, "good", 3.0), tmp_path / "bare", put(tmp_path, "torn")
    bare.mkdir()
    (torn / "manifest.yaml").write_text("a: [1")
    choice = choose([good, bare, torn], "latency")
    assert choice.chosen == "good"
    assert [one.folder for one in choice.skipped] == [str(bare), str(torn)]


@pytest.mark.parametrize(
    ("more", "files", "why"),
    [
        ({"model_type": "x", "model": {"bundle_file": "model.raxe"}}, FILES, "model.raxe, which is not there"),
        ({"model_type": "x", "model": {"bundle_file": "tokenizer.json"}}, FILES, "which is a file"),
        ({"model_type": "x", "file_info": {"filename": "a_int8.onnx"}}, FILES, "a_int8.onnx, which is not there"),
        ({}, FILES[1:], "it lacks embeddings*.onnx"),
        ({"model_type": "x", "model": {"bundle_file": "", "embedding_model": "x"}}, FILES, None),
    ],
)
def test_what_is_chosen_and_then_not_served(
    more: dict[str, object], files: tuple[str, ...], why: str | None, tmp_path: Path
) -> None:
    choice = choose([put(tmp_path, "one", 1.0, 0.9, files=files, **more)], "balanced")  # type: ignore[arg-type]
    assert choice.chosen == "one"
    assert select.chosen_and_served(choice) is (why is None)
    if why is not None:
        assert why in (choice.scored[0].candidate.refused or "")
        assert "chooses one and then fails" in choice.notes[0]


def test_ids_that_clash_and_figures_that_are_none_are_refused(tmp_path: Path) -> None:
    twins = [put(tmp_path, name, model_id="same") for name in ("one", "two")]
    with pytest.raises(UserError, match="have the id same"):
        choose(twins, "latency")
    with pytest.raises(UserError, match="there is no folder"):
        expand([tmp_path / "absent"])
    with pytest.raises(UserError, match="p95_latency_ms is 'fast'"):
        choose([put(tmp_path, "word", "fast")], "latency")
    with pytest.raises(UserError, match="write a finite number"):
        choose([put(tmp_path, "nan", float("nan"))], "latency")


def test_folders_of_one_name_are_compared_under_the_names_that_tell_them_apart(tmp_path: Path) -> None:
    folders = [put(tmp_path / "a", "student", 2.0), put(tmp_path / "b", "student", 3.0), put(tmp_path, "teacher", 40.0)]
    choice = choose(expand([*folders, folders[0]]), "latency")
    assert [one.candidate.model_id for one in choice.scored] == ["a-student", "b-student", "teacher"]
    assert f"{folders[1]} as b-student" in choice.notes[0]
    deep = [put(tmp_path / name / "same", "student") for name in ("c", "d")]
    assert names([*deep, folders[2]]) == ["c-same-student", "d-same-student", "teacher"]


def test_the_folder_that_one_stands_in_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(put(tmp_path, "student", 2.0))
    assert choose(expand([Path()]), "latency").chosen == "student"


def judge(folder: Path, output: Path, data: dict[str, list[str]], **evaluation: object) -> int:
    """As eval.run on validation, a few calls timed."""
    settings = {"split": "validation", "latency_calls": 1000, "warmup_calls": 1, "bootstrap_repeats": 100}
    whole = {"name": "tiny", "output": str(output), "checkpoint": str(folder), "data": data}
    return run.work(Experiment.model_validate({**whole, "evaluation": settings | evaluation}))


def test_from_export_to_the_choice(
    tiny_checkpoint: Path, data: dict[str, list[str]], tmp_path: Path, door: Callable[..., object],
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Every command that is printed is the one that is run next."""
    whole = {"name": "tiny", "output": str(tmp_path), "checkpoint": str(tiny_checkpoint), "data": data}
    assert export_run.work(Experiment.model_validate({**whole, "export": {"formats": ["fp32"]}})) == 0
    folder = tmp_path / "tiny-fp32"
    assert door(folder) == 0
    note = " ".join(capsys.readouterr().out.split())
    (told,) = re.findall(r"then python -m eval\.quote (.*) writes", note)
    assert told == str(folder)
    with pytest.raises(UserError, match=f"judge it with python -m eval.run --config FILE checkpoint={folder}"):
        quote.work(Namespace(folders=[folder], reports=None))
    judge(folder, tmp_path, data)
    assert f"registry: python -m eval.quote {folder}\n" in capsys.readouterr().out
    before = manifest.read(folder)
    assert quote.work(Namespace(folders=[Path(told)], reports=None)) == 0
    after, made = manifest.read(folder), read(tmp_path / "reports" / "tiny-fp32-validation")
    assert after.digest == before.digest == Manifest(Path(), {"files": made.provenance["files"]}).digest
    assert after.fields["accuracy"]["binary_f1"] == made.accuracy.binary_f1
    assert after.fields["performance"]["p95_latency_ms"] == made.latency.p95_ms  # type: ignore[union-attr]
    assert after.fields["performance"]["target_latency_ms"] == 3.0
    assert after.fields["measured"]["this_graph"] is True
    (only,) = choose([folder], "balanced").scored
    assert (only.candidate.p95_ms, only.candidate.binary_f1) == (made.latency.p95_ms, made.accuracy.binary_f1)  # type: ignore[union-attr]
    assert "not in the manifest" not in only.sentence
    # Served otherwise, the report is no longer on it; judged elsewhere, the command says where.
    manifest.write(folder, {**after.fields, "serving": {"decode": "beside", "decoded_limit": 0.5, "first_layer": None}})
    with pytest.raises(UserError, match="no report on validation or test"):
        quote.work(Namespace(folders=[folder], reports=None))
    judge(folder, tmp_path / "elsewhere", data, latency_calls=0)
    assert f"eval.quote {folder} --reports {tmp_path / 'elsewhere' / 'reports'}\n" in capsys.readouterr().out
    assert quote.work(Namespace(folders=[folder], reports=[tmp_path / "elsewhere" / "reports"])) == 0
    assert "p95_latency_ms" not in manifest.read(folder).fields["performance"]  # the old one was of the other serving


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """Call the entry point with arguments; gives the exit status."""

    def call(*arguments: object) -> object:
        monkeypatch.setattr(sys, "argv", ["select", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            select.main()
        return caught.value.code

    return call


def test_the_command(tmp_path: Path, door: Callable[..., object], capsys: pytest.CaptureFixture[str]) -> None:
    models = tmp_path / "models"
    put(models, "student", 2.5, 0.94)
    put(models, "teacher", 40, 0.97)
    written = tmp_path / "new" / "choice.json"
    assert door(models, "--criteria", "accuracy", "--json", written) == 0
    assert "chosen: teacher" in capsys.readouterr().out
    choice = Choice.model_validate(json.loads(written.read_text()))
    assert (choice.chosen, choice.criteria) == ("teacher", "accuracy")
    put(models, "broken", 0.1, 0.99, files=())
    assert door(models) == 1
    out = capsys.readouterr().out
    assert "chosen: broken" in out
    assert "ModelDiscoveryService takes" in " ".join(out.split())
    assert door(models, "--criteria", "size") == 2


def test_a_folder_of_our_own_export_is_read(tmp_path: Path) -> None:
    """The manifest as export.layouts writes it: figures or not, the registry lists and serves it."""
    folder = put(
        tmp_path, "student-int8", kind="onnx", precision="int8", embedding_dim=384, max_length=64,
        onnx_files=list(FILES[:2]), tokenizer={"name": "x", "type": "MPNetTokenizer", "config": {"max_length": 64}},
        files=("embeddings_quantized_int8.onnx", *FILES[1:]),
    )  # fmt: skip
    choice = choose([folder], "balanced")
    assert choice.chosen == "student-int8"
    assert choice.scored[0].candidate.refused is None
    assert choice.scored[0].score == 50.0
