"""eval.run: one checkpoint judged from a configuration, in this process; what is beside it does not stop it."""

import json
from pathlib import Path

import pytest

from core.config import load
from core.errors import UserError
from core.schema import Experiment
from eval import kept
from eval import report as reports
from eval.recompute import recompute
from eval.run import side_by_side, work

QUICK = {"latency_calls": 0, "bootstrap_repeats": 100}


def experiment(folder: Path, checkpoint: Path, data: dict[str, list[str]], **evaluation: object) -> Experiment:
    content = {
        "name": "judged", "output": str(folder / "out"), "checkpoint": str(checkpoint), "data": data,
        "evaluation": {**QUICK, **evaluation},
    }  # fmt: skip
    (folder / "x.yaml").write_text(json.dumps(content))
    return load(folder / "x.yaml")


def test_validation_is_judged_and_can_be_computed_again(
    tmp_path: Path, tiny_checkpoint: Path, data: dict[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    status = work(experiment(tmp_path, tiny_checkpoint, data))
    folder = tmp_path / "out" / "reports" / "tiny-validation"
    report = reports.read(folder)
    assert status == {"met": 0, "missed": 1, "undecided": 3}[report.verdict]
    assert (report.split, report.rows, report.latency) == ("validation", 12, None)
    assert report.overlap is not None
    assert (report.overlap.training_rows, report.overlap.exact) == (48, 0)
    assert recompute(report, kept.read(folder)).differences == ()
    shown = capsys.readouterr().out
    assert str(folder / "report.html") in shown
    assert report.judgements["fpr"].sentence in " ".join(shown.split())


def test_rows_to_judge_on_are_enough(tmp_path: Path, tiny_checkpoint: Path, data: dict[str, list[str]]) -> None:
    work(experiment(tmp_path, tiny_checkpoint, {"test": data["validation"]}, split="test"))
    report = reports.read(tmp_path / "out" / "reports" / "tiny-test")
    assert report.overlap is None
    assert any("whether the model has seen these texts is unknown" in note for note in report.notes)


def test_a_set_of_benign_texts_alone_is_judged(
    tmp_path: Path, tiny_checkpoint: Path, data: dict[str, list[str]]
) -> None:
    rows = [json.loads(line) for line in Path(data["validation"][0]).read_text().splitlines()]
    benign = [{**row, "text": f"{row['text']} Please be brief."} for row in rows if row["label"] == 0]
    (tmp_path / "benign.jsonl").write_text("".join(json.dumps(row) + "\n" for row in benign))
    extra = {**data, "extra": {"harmless": [str(tmp_path / "benign.jsonl")]}}
    work(experiment(tmp_path, tiny_checkpoint, extra, split="harmless"))
    report = reports.read(tmp_path / "out" / "reports" / "tiny-harmless")
    assert report.accuracy.binary_f1 is None
    assert report.judgements["accuracy"].verdict == "not measured"
    assert report.judgements["fpr"].measured == report.accuracy.false_positive_rate
    assert "no attack" in report.notes[0]


def test_a_text_of_the_training_rows_is_an_error(
    tmp_path: Path, tiny_checkpoint: Path, data: dict[str, list[str]]
) -> None:
    with pytest.raises(UserError, match="stand in two splits"):
        work(experiment(tmp_path, tiny_checkpoint, {**data, "test": data["train"]}, split="test"))
    assert not list((tmp_path / "out").rglob("report.json"))


def test_an_older_report_beside_it_is_left_out_by_name(
    tmp_path: Path, tiny_checkpoint: Path, data: dict[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    work(experiment(tmp_path, tiny_checkpoint, data))
    old = tmp_path / "out" / "reports" / "old-validation"
    old.mkdir()
    (old / "report.json").write_text('{"schema_version": 1}')
    table = side_by_side(tmp_path / "out", "validation").read_text()
    assert "tiny" in table
    assert "old" not in table
    assert "old-validation/report.json has schema version 1" in capsys.readouterr().err
