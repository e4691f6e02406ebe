"""eval.recompute: a whole report follows from what was kept, and whatever was tampered with is named."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_factory import make_probability, make_report, make_rows

from core.errors import UserError
from eval import kept
from eval.kept import Answers, Calls, Kept
from eval.recompute import leaves, main, numbers, recompute, same
from eval.report import read
from eval.schema import Report

ROWS = make_rows()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_report(tmp_path / "made", ROWS, make_probability(ROWS, [0, 1, 50]))
    return tmp_path / "made"


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """Call the entry point with folders; gives the exit status."""

    def call(*arguments: object) -> object:
        monkeypatch.setattr(sys, "argv", ["recompute", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        return caught.value.code

    return call


def edited(folder: Path, *path: str | int, value: Any) -> None:
    """One value of report.json replaced."""
    content = json.loads((folder / "report.json").read_text())
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (folder / "report.json").write_text(json.dumps(content))


def differing(folder: Path) -> set[str]:
    return {found.path for found in recompute(read(folder), kept.read(folder)).differences}


def test_every_key_of_a_report_is_recomputed_or_said_to_be_measured(folder: Path) -> None:
    from eval.recompute import MEASURED, RECOMPUTED

    assert set(RECOMPUTED) | set(MEASURED) | {"schema_version"} == set(Report.model_fields)
    assert not set(RECOMPUTED) & set(MEASURED)


@pytest.mark.parametrize("milliseconds", [2.0, None])
def test_an_honest_report_agrees_in_every_figure(tmp_path: Path, milliseconds: float | None) -> None:
    report = make_report(tmp_path, ROWS, make_probability(ROWS, [0, 1, 50]), milliseconds=milliseconds)
    result = recompute(read(tmp_path), kept.read(tmp_path))
    assert result.differences == ()
    assert result.agreeing["accuracy"] > 60
    assert result.agreeing["latency"] > (40 if milliseconds else 0)
    assert result.agreeing["judgements"] >= 6 * len(report.judgements)
    assert set(result.agreeing) >= {"per_family", "per_source", "per_script", "sensitivity", "meets_targets"}


@pytest.mark.parametrize(
    "path",
    [
        ("accuracy", "auroc"),
        ("accuracy", "intervals", "binary_f1", 0),
        ("accuracy", "reliability", 0, "mean_probability"),
        ("latency", "p95_ms"),
        ("latency", "stages", "encode", "p50_ms"),
        ("latency", "noise", "drift"),
        ("judgements", "accuracy", "margin"),
        ("sensitivity", "binary_f1", "lowest"),
        ("targets", "p95_ms"),
    ],
)
def test_one_altered_figure_is_named(folder: Path, path: tuple[str | int, ...]) -> None:
    value: Any = json.loads((folder / "report.json").read_text())
    for key in path:
        value = value[key]
    edited(folder, *path, value=value + 1e-6)
    assert differing(folder) == {".".join(map(str, path))}
    edited(folder, *path, value=value + 1e-12)
    assert differing(folder) == set()


def test_one_altered_prediction_is_found(folder: Path) -> None:
    """An attack that was missed (row 0) is said to be caught."""
    evidence = kept.read(folder)
    said = evidence.predictions
    probability = np.r_[0.9, said.attack_probability[1:]]
    answers = Answers(probability, said.family, said.subfamily, said.family_confidence, said.subfamily_confidence)
    kept.write(Kept(evidence.rows, answers, evidence.calls), folder)
    found = differing(folder)
    assert {"accuracy.confusion_matrix.tp", "accuracy.binary_f1", "per_family.JB.counts.fn"} <= found
    assert not any(path.startswith("latency") for path in found)


def test_one_altered_call_is_found(folder: Path) -> None:
    evidence = kept.read(folder)
    assert evidence.calls is not None
    stages = {name: times.copy() for name, times in evidence.calls.stages.items()}
    stages["encode"][7] += 10**9
    calls = Calls(evidence.calls.row, stages, evidence.calls.reference, evidence.calls.threads)
    kept.write(replace(evidence, calls=calls), folder)
    found = differing(folder)
    assert {"latency.max_ms", "latency.mean_ms", "latency.stages.encode.max_ms"} <= found
    assert not any(path.startswith("accuracy") for path in found)


def test_rows_and_configuration_are_held_against_their_hashes(folder: Path) -> None:
    evidence = kept.read(folder)
    kept.write(replace(evidence, rows=replace(evidence.rows, groups=("x",) * len(ROWS))), folder)
    assert "provenance.fingerprints.test" in differing(folder)
    make_report(folder, ROWS, make_probability(ROWS, [0, 1, 50]))
    edited(folder, "provenance", "config", "name", value="other")
    assert differing(folder) == {"provenance.config_hash"}


def test_what_cannot_be_recomputed_is_refused(folder: Path) -> None:
    report, evidence = read(folder), kept.read(folder)
    with pytest.raises(UserError, match=r"holds a latency, but no calls\.parquet lies beside it"):
        recompute(report, replace(evidence, calls=None))
    for lacking in ("seed", "config"):
        known = {name: value for name, value in report.provenance.items() if name != lacking}
        with pytest.raises(UserError, match="names no seed or no evaluation"):
            recompute(report.model_copy(update={"provenance": known}), evidence)
    config = {"evaluation": {"bootstrap_repeats": 3}}
    with pytest.raises(UserError, match="an evaluation that cannot be read"):
        recompute(report.model_copy(update={"provenance": {"seed": 1, "config": config}}), evidence)


def test_the_command_names_what_differs_and_goes_on(
    folder: Path, tmp_path: Path, door: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    make_report(tmp_path / "altered", ROWS)
    auroc = read(tmp_path / "altered").accuracy.auroc
    edited(tmp_path / "altered", "accuracy", "auroc", value=0.123)
    assert door(folder / "report.json") == 0
    printed = capsys.readouterr().out
    assert "every figure agrees" in printed
    assert "measured, not recomputed: model_id" in printed
    assert "resources" in printed
    assert door(tmp_path / "altered", folder) == 1
    printed = capsys.readouterr().out
    assert f"DIFFERS accuracy.auroc: report 0.123, recomputed {auroc!r}" in printed
    assert f"{folder}: every figure agrees" in printed
    assert door(tmp_path / "none", folder) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {tmp_path / 'none'}: cannot read")
    assert "every figure agrees" in captured.out  # one that cannot be read hides no other
    assert door(tmp_path / "none", tmp_path / "altered") == 1
    assert door() == 2


def test_a_text_that_was_exchanged_is_refused(
    folder: Path, door: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    import pyarrow.parquet as parquet

    table = parquet.read_table(folder / "predictions.parquet")
    texts = ["something else", *table.column("text").to_pylist()[1:]]
    place = table.column_names.index("text")
    parquet.write_table(table.set_column(place, "text", [texts]), folder / "predictions.parquet")
    assert door(folder) == 2
    assert "row 1: the text is not the one that was judged" in capsys.readouterr().err


def test_leaves_pairs_what_one_side_lacks_with_none() -> None:
    found = list(leaves("a", {"x": [1, 2], "y": None}, {"x": [1], "z": 3}))
    assert found == [("a.x.0", 1, 1), ("a.x.1", 2, None), ("a.y", None, None), ("a.z", None, 3)]


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (1.0, 1.0 + 1e-10, True), (1.0, 1.0 + 1e-8, False), (1e6, 1e6 + 1e-4, True), (1e6, 1e6 + 1e-2, False),
        (1, 1.0, True), (True, 1, False), (1, True, False), (True, True, True), (None, 0.0, False), ("a", "a", True),
        (None, None, True), ([], [], True), ([], {}, False), ("0", 0, False),
    ],
)  # fmt: skip
def test_numbers_agree_to_a_billionth_and_all_else_exactly(one: object, other: object, equal: bool) -> None:
    assert same(one, other) is equal


def test_of_a_sentence_only_the_numbers_are_figures() -> None:
    path = "judgements.fpr.sentence"
    assert numbers(path, "25 of 3,446 flagged; below 1.00%") == ["25", "3,446", "1.00"]
    assert numbers(path, "24 of 3,446 flagged; below 1.00 %") != numbers(path, "25 of 3,446 flagged; below 1.00 %")
    assert numbers("notes.0", "8 of 12 texts") == ["8", "12"]
    assert numbers("judgements.fpr.verdict", "met") == "met"
    assert numbers("accuracy.binary_f1", 0.5) == 0.5
