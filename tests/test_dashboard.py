"""All reports on one page: what is found, what is drawn together, what is linked, and what goes wrong."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from report_factory import make_probability, make_report, make_rows
from test_html import HOSTILE, Outline

from core.errors import UserError
from eval import dashboard
from eval.pages import board, costs
from eval.pages.pareto import Point, front, labels
from eval.pages.runs import Runs, find, names
from eval.pages.sets import sets
from eval.pages.trends import over_steps, over_time
from eval.schema.live_prices import Prices


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints on test, one judged twice; one of them on validation; one on other texts; two steps; rubbish."""
    root, rows = tmp_path_factory.mktemp("artifacts"), make_rows()
    small = make_rows(10, 20)

    def put(where: str, model_id: str, split: str, wrong: int, day: int = 1, **more: float | bool | None) -> None:
        made = make_report(
            root / where, rows, make_probability(rows, wrong=range(wrong)), model_id=model_id, split=split,
            size_mb=float(more.get("size") or 23.5), milliseconds=more.get("milliseconds", 2.0),
            synthetic=bool(more.get("synthetic")),
        )  # fmt: skip
        dated = made.model_copy(update={"timestamp": f"2025-01-0{day}T12:00:00+00:00"})
        (root / where / "report.json").write_text(dated.model_dump_json())

    put("run/reports/student-test", "run/student", "test", 6, 3)
    put("older/reports/student-test", "run/student", "test", 9, 2)
    put("run/reports/teacher-test", "run/teacher", "test", 2, size=218.0, milliseconds=90.0)
    put("run/reports/student-validation", "run/student", "validation", 5, milliseconds=None, synthetic=True)
    put("run/training/student/checkpoint-100", "student/checkpoint-100", "validation", 12, milliseconds=None)
    put("run/training/student/checkpoint-20", "student/checkpoint-20", "validation", 18, milliseconds=None)
    make_report(root / "other" / "student-test", small, make_probability(small), model_id="other/student")
    shutil.copytree(root / "run/reports/teacher-test", root / "run/.teacher.0a1b")
    (root / "run/reports/student-test/report.html").write_text("<p>a page")
    for name, content in {"cut": "{", "ancient": json.dumps({"schema_version": 1})}.items():
        (root / name).mkdir()
        (root / name / "report.json").write_text(content)
    return root


@pytest.fixture(scope="module")
def runs(folder: Path) -> Runs:
    """What is found there."""
    return find(folder)


def test_the_newest_of_each_checkpoint_and_set_of_texts_is_kept(runs: Runs) -> None:
    newest = [(run.report.split, run.report.model_id, run.folder.as_posix()) for run in runs.newest]
    assert newest[0] == ("validation", "run/student", "run/reports/student-validation")
    assert set(newest[1:]) == {
        ("test", "run/teacher", "run/reports/teacher-test"),
        ("test", "run/student", "run/reports/student-test"),
        ("test", "other/student", "other/student-test"),
    }
    assert newest.index(("test", "run/teacher", "run/reports/teacher-test")) + 1 == newest.index(
        ("test", "run/student", "run/reports/student-test")  # the higher F1 first
    )
    assert len(runs.every) == len(newest) + 1


def put_alike(root: Path, checkpoint: str | None, byte: str, wrong: int, day: int) -> None:
    """A report on a model called student-int8, judged where `checkpoint` says, of bytes of its own."""
    rows, folder = make_rows(), root / f"{byte}-{day}"
    made = make_report(folder, rows, make_probability(rows, range(wrong)), model_id="student-int8")
    config = {**made.provenance["config"], "checkpoint": checkpoint}
    known = {**made.provenance, "config": config, "files": {"graph.onnx": byte * 64}}
    changed = {"provenance": known, "timestamp": f"2025-01-0{day}T12:00:00+00:00"}
    (folder / "report.json").write_text(made.model_copy(update=changed).model_dump_json())


def test_models_of_one_name_are_told_apart_by_where_they_lay_or_else_by_their_bytes(tmp_path: Path) -> None:
    for day, (where, byte, wrong) in enumerate(
        [("artifacts/plain/student-int8", "a", 1), ("artifacts/trimmed/student-int8", "b", 4),
         ("artifacts/plain/student-int8", "c", 2), (None, "d", 3), (None, "d", 5), (None, "e", 6)], 1
    ):  # fmt: skip
        put_alike(tmp_path, where, byte, wrong, day)
    runs = find(tmp_path)
    names = [run.name for run in runs.newest]
    assert names[:2] == ["plain/student-int8", "trimmed/student-int8"]  # trained again where it lay: one of them
    assert len(names) == len(set(names)) == 4
    assert all(name.endswith("/student-int8") for name in names)
    assert [row.name for row in board.rows(runs.newest, tmp_path, tmp_path / "page.html")] == names
    history = over_time(runs.every)
    assert history is not None
    assert sorted(name for name, _ in history.legend) == sorted([names[0], names[2]])
    (table,) = costs.tables(runs, tmp_path, tmp_path / "page.html", Prices(), "trimmed/student-int8")
    assert table.options[0].name == "trimmed/student-int8"
    assert {option.name for option in table.options} == set(names)
    with pytest.raises(UserError, match=r"name a baseline among .*plain/student-int8, trimmed/student-int8"):
        costs.tables(runs, tmp_path, tmp_path / "page.html", Prices(), "student-int8")


def test_names_grow_only_as_far_as_they_must() -> None:
    found = names({("one", "a/x/one"), ("two", "a/x/two"), ("two", "b/x/two"), ("six", "six"), ("six", "b/six")})
    assert set(found.values()) == {"one", "a/x/two", "b/x/two", "six", "b/six"}


def test_steps_are_kept_apart_and_half_written_folders_are_not_read(runs: Runs) -> None:
    assert [(step.stage, step.step) for step in runs.steps] == [
        ("run/training/student", 20),
        ("run/training/student", 100),
    ]
    assert not [run for run in runs.every if "teacher.0a1b" in run.folder.as_posix()]


def test_a_report_that_cannot_be_read_is_listed_with_the_reason(runs: Runs) -> None:
    assert [one.path.as_posix() for one in runs.broken] == ["ancient/report.json", "cut/report.json"]
    assert "schema version 1" in runs.broken[0].reason
    assert "not JSON" in runs.broken[1].reason


def test_only_what_was_judged_on_the_same_texts_is_drawn_together(runs: Runs, folder: Path) -> None:
    table = board.rows(runs.newest, folder, folder / "dashboard.html")
    drawn = sets(runs, {row.folder: row.number for row in table})
    assert [(one.split, one.runs, len(one.pictures)) for one in drawn if one.runs > 1] == [("test", 2, 2)]
    assert sorted((one.split, one.runs) for one in drawn) == [("test", 1), ("test", 2), ("validation", 1)]
    titles = [picture.title for one in drawn for picture in one.pictures]
    assert titles == ["F1 against latency", "F1 against size"]
    svg = str(next(one for one in drawn if one.pictures).pictures[0].svg)
    assert ">2 run/teacher<" in svg
    assert ">3 run/student<" in svg


def test_trends_need_two_points_and_name_their_lines_beside_the_picture(runs: Runs) -> None:
    picture, steps = over_time(runs.every), over_steps(runs.steps)
    assert picture is not None
    assert steps is not None
    assert picture.legend == (("run/student", 0),)
    assert steps.legend == (("run/training/student", 0),)
    assert over_time(runs.newest[:1]) is None
    assert over_steps(runs.steps[:1]) is None


def test_the_page_has_a_row_for_each_and_links_that_lead_there(runs: Runs, folder: Path, tmp_path: Path) -> None:
    page = dashboard.to_html(runs, folder, tmp_path / "deep" / "dashboard.html")
    found = Outline(page)
    assert not found.unbalanced
    assert sum(tag == "tr" and "data-group" in attributes for tag, attributes in found.tags) == 4
    links = [attributes["href"] or "" for tag, attributes in found.tags if tag == "a"]
    assert len(links) == 4
    (tmp_path / "deep").mkdir()
    assert all((tmp_path / "deep" / link).resolve().is_file() for link in links)
    assert [link.rpartition("/")[2] for link in links].count("report.html") == 1  # where there is one
    text = " ".join(" ".join(found.text).split())
    for phrase in ("claims nothing (1 of 4 rows)", "cut/report.json", "schema version 1", "While training", "1 older"):
        assert phrase in text, phrase
    assert page == dashboard.to_html(runs, folder, tmp_path / "deep" / "dashboard.html")


def test_each_figure_bears_the_verdict_of_its_target(runs: Runs, folder: Path) -> None:
    table = {row.folder: row for row in board.rows(runs.newest, folder, folder / "dashboard.html")}
    teacher = dict(zip(board.COLUMNS, table["run/reports/teacher-test"].cells, strict=True))
    assert (teacher["size"].value, teacher["size"].word, teacher["size"].mark) == ("218", "missed", "✗")
    assert (teacher["memory"].value, teacher["memory"].word) == ("120", "met")
    assert teacher["accuracy"].value == "0.9744"  # 38 of 40 attacks, no false alarm: 76 / 78
    untimed = dict(zip(board.COLUMNS, table["run/reports/student-validation"].cells, strict=True))
    assert (untimed["latency"].key, untimed["latency"].value, untimed["latency"].word) == ("", "–", "not measured")


def test_a_folder_name_never_becomes_a_scheme_or_leaves_its_attribute(tmp_path: Path) -> None:
    strange = tmp_path / 'javascript:alert(1)"><b>'
    strange.mkdir()
    assert board.link(strange, tmp_path / "dashboard.html") == "javascript%3Aalert%281%29%22%3E%3Cb%3E/report.json"


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    everything = " ".join(HOSTILE[:4])
    for number, day in enumerate((1, 2, 2)):
        made = make_report(tmp_path / str(number), model_id=f"{everything} {number % 2}", milliseconds=2.0 + number)
        report = made.model_copy(update={"split": everything, "precision": everything,
                                         "timestamp": f"2025-01-0{day}T12:00:00+00:00"})  # fmt: skip
        (tmp_path / str(number) / "report.json").write_text(report.model_dump_json())
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "report.json").write_text(json.dumps({"schema_version": HOSTILE[0]}))
    page = dashboard.to_html(find(tmp_path), tmp_path, tmp_path / "dashboard.html")
    found = Outline(page)
    assert not found.unbalanced
    assert sum(tag == "script" for tag, _ in found.tags) == 1
    assert not [tag for tag, attributes in found.tags if (tag == "h1" and attributes) or tag == "img"]
    assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
    assert "<script>alert" not in page
    assert page.count("<svg") == 3  # F1 against latency, against size, over time


def test_the_front_holds_what_nothing_beats() -> None:
    cheap, better, worse, best, twin = (
        Point(number, "", f1, None, cost)
        for number, (f1, cost) in enumerate([(0.80, 1.0), (0.90, 2.0), (0.85, 3.0), (0.95, 9.0), (0.90, 2.5)])
    )
    assert front([worse, best, twin, better, cheap]) == [cheap, better, best]


def test_labels_cover_neither_each_other_nor_a_foreign_point() -> None:
    crowd = [Point(number, "a rather long name", 0.9 + number / 1e4, None, 3.0) for number in range(12)]
    spread = [Point(number, "short", 0.1 + number / 10, None, 10.0**number) for number in range(4)]
    texts = [text for text, _, _ in labels(spread, (0.5, 5000.0, 0.0, 1.0))]
    assert texts == ["0 short", "1 short", "2 short", "3 short"]
    texts = [text for text, _, _ in labels(crowd, (1.0, 10.0, 0.8, 1.0))]
    assert texts[-1] == "11"  # no room for its name


@pytest.mark.parametrize(("there", "said"), [(False, "there is no folder"), (True, "there is no report.json below")])
def test_nothing_to_show_is_a_mistake_with_a_remedy(tmp_path: Path, there: bool, said: str) -> None:
    where = tmp_path if there else tmp_path / "absent"
    with pytest.raises(UserError, match=f"{said}.*eval.run"):
        find(where)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The command line's exit status."""
    monkeypatch.setattr(sys, "argv", ["dashboard", *arguments])
    with pytest.raises(SystemExit) as ended:
        dashboard.main()
    return int(ended.value.code or 0)


def test_the_command_writes_the_page_and_explains_its_statuses(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "page.html"
    assert run(monkeypatch, str(folder), "--output", str(output)) == 0
    assert output.read_text().startswith("<!doctype html>")
    assert "2 report(s) that could not be read" in capsys.readouterr().out
    assert not (folder / "dashboard.html").exists()
    assert run(monkeypatch, str(tmp_path / "absent")) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert run(monkeypatch, "--help") == 0
    assert "nothing to show" in capsys.readouterr().out
