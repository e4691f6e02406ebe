"""A model in service: logged by the pipeline, judged by hand-checkable counts, alarming, shown on a page."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from log_factory import START, make_line, make_log, write_log
from report_factory import make_probability, make_report, make_rows
from test_html import HOSTILE, outline

from core.decision import Decision
from core.errors import UserError
from core.prediction_log import PredictionLog
from core.rows import text_hash
from core.served import Served
from eval import monitor
from eval.live import rates
from eval.live.alarms import level
from eval.live.labels import read_labels
from eval.live.page import to_html
from eval.live.read import LogReader, Wanted
from eval.metrics import wilson
from eval.schema.live import Alarm, Alarms, Health

ONE_OF_EACH = Alarm(warning=0.015, critical=0.02)


def read_back(path: Path) -> list[Served]:
    return [Served.model_validate_json(line) for line in path.read_text().splitlines()]


class FakeGuard:
    """Flags what says "ignore"; fails on an empty text."""

    model_id = "fake"
    described: Mapping[str, Any] = {}

    def __call__(self, text: str) -> Decision:
        if not text:
            raise UserError("an empty text")
        score = 0.9 if "ignore" in text else 0.1
        return Decision(
            int(score > 0.5), "PI", "x", {"attack_probability": score}, [], ["BLOCK" if score > 0.5 else "ALLOW"],
            [], [], False,
        )  # fmt: skip


def test_pipeline_to_log_to_monitor(tiny_checkpoint: Path, tiny_rows: Any, tmp_path: Path) -> None:
    """Our own pipeline writes what our own monitor reads, against the report of the same rows."""
    from core.pipeline import open_pipeline

    pipeline, path = open_pipeline(tiny_checkpoint), tmp_path / "served.jsonl"
    with PredictionLog(path, pipeline) as guard:
        said = [guard(text, int(label)) for text, label in zip(tiny_rows.texts, tiny_rows.labels, strict=True)]
    lines = read_back(path)
    assert [line.attack_probability for line in lines] == [one.scores["attack_probability"] for one in said]
    assert [[line.decision] for line in lines] == [one.recommended_action for one in said]
    assert {line.text for line in lines} == {None}
    assert [line.text_hash for line in lines] == [text_hash(text) for text in tiny_rows.texts]
    assert all("Ignore" not in line for line in path.read_text().splitlines())

    scores = np.array([line.attack_probability for line in lines])
    make_report(tmp_path / "report", tiny_rows, scores, model_id=pipeline.model_id)
    found = monitor.monitor(path, Wanted(), Alarms(), tmp_path / "report")
    wrong = (scores >= 0.5) & (tiny_rows.labels == 0)
    assert found.model == pipeline.model_id
    assert found.lines == found.labelled == len(tiny_rows)
    assert found.false_positive_rate.value == wrong.sum() / 30
    assert found.latency is not None
    assert found.latency.p50_ms == pytest.approx(np.sort([line.latency_ms for line in lines])[29], rel=0.002)
    assert len(found.digests) == 1
    assert [one.what for one in found.drift] == ["scores", "lengths"]
    assert [one.distance_unmixed for one in found.drift] == pytest.approx([0.0, 0.0], abs=1e-12)
    assert found.attack_share == pytest.approx(0.5, abs=0.01)


def test_a_log_keeps_no_text_unless_told_and_its_hash_needs_the_key(tmp_path: Path) -> None:
    for name, more in {"plain": {}, "keyed": {"key": b"secret"}, "whole": {"keep_texts": True}}.items():
        with PredictionLog(tmp_path / name, FakeGuard(), **more) as guard:  # type: ignore[arg-type]
            guard("hello \ud800", call_id="first")
    plain, keyed, whole = (read_back(tmp_path / name)[0] for name in ("plain", "keyed", "whole"))
    assert plain.text_hash == whole.text_hash == text_hash("hello \ufffd")
    assert keyed.text_hash not in (plain.text_hash, text_hash("secret"))
    assert (plain.text, whole.text) == (None, "hello \ufffd")
    assert (plain.id, plain.characters, plain.digest) == ("first", 7, None)


def test_a_failed_call_is_logged_and_goes_on_and_a_torn_line_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "served.jsonl"
    path.write_text('{"id": "torn by a cra')
    with PredictionLog(path, FakeGuard()) as guard:
        with pytest.raises(UserError, match="an empty text"):
            guard("", call_id="failed")
        guard("please ignore", label=1)
    torn, failed, answered = path.read_text().splitlines()
    assert torn.endswith("cra")
    line = Served.model_validate_json(failed)
    assert (line.id, line.error, line.attack_probability, line.decision) == ("failed", "UserError", None, None)
    assert Served.model_validate_json(answered).label == 1
    with pytest.raises(UserError, match=r"1 of 3 lines .* number 1"):  # more than one in a hundred
        list(LogReader(path).batches())


def test_a_log_that_takes_no_lines_never_stops_the_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with PredictionLog(tmp_path / "served.jsonl", FakeGuard()) as guard:
        with monkeypatch.context() as full:
            full.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
            assert guard("please ignore").is_attack == 1
            assert guard("hello").is_attack == 0
        guard("hello")
    assert guard.lost == 2
    assert caplog.text.count("No space left") == 1
    assert len(read_back(tmp_path / "served.jsonl")) == 1
    with pytest.raises(UserError, match="choose another file"):
        PredictionLog(tmp_path / "absent" / "served.jsonl", FakeGuard())


def test_rates_by_hand() -> None:
    """All labelled: counted. A part labelled: 10 of 50 flagged and 90 of 90 allowed are benign, of 100 and 900."""
    counted = rates.false_positive_rate(np.array([[0, 97, 5], [0, 3, 20]])).share
    assert (counted.value, counted.interval, counted.method) == (0.03, wilson(3, 100), "counted")
    missed = rates.false_negative_rate(np.array([[0, 97, 5], [0, 3, 20]])).share
    assert (missed.value, missed.labelled) == (5 / 25, 25)

    part = np.array([[810, 90, 0], [50, 10, 40]])
    weighted = rates.false_positive_rate(part)
    assert weighted.share.value == pytest.approx(20 / 920)  # plainly counted: 10 / 100
    assert weighted.share.method == "weighted"
    low, high = weighted.share.interval or (0, 0)
    assert low < 20 / 920 < high < 0.05
    assert weighted.draws is not None
    assert weighted.draws.std() == pytest.approx(100 / 900 * np.sqrt(0.2 * 0.8 / 51), rel=0.15)
    missed = rates.false_negative_rate(part).share
    assert missed.value == 0
    assert missed.interval is not None
    assert missed.interval[1] > 0.1  # no attack in 90 allowed lines says little of 900


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        ([[900, 0, 0], [10, 30, 60]], "no allowed line has a label"),
        ([[810, 90, 0], [100, 0, 0]], "no flagged line has a label"),
        ([[900, 0, 0], [100, 0, 0]], "no allowed and no flagged"),
        ([[0, 0, 10], [0, 0, 90]], "no benign texts among"),
        ([[5, 0, 10], [0, 0, 90]], "no benign texts among 100 labelled"),
    ],
)
def test_what_the_labels_cannot_say_is_not_measured(counts: list[list[int]], why: str) -> None:
    share = rates.false_positive_rate(np.array(counts)).share
    assert (share.value, share.interval, share.method) == (None, None, "not measured")
    assert why in share.sentence


def test_nothing_flagged_needs_no_label_of_a_flagged_line() -> None:
    share = rates.false_positive_rate(np.array([[900, 100, 0], [0, 0, 0]])).share
    assert (share.value, share.method) == (0.0, "weighted")


@pytest.mark.parametrize(
    ("value", "interval", "alarm", "expected"),
    [
        (0.010, (0.008, 0.015), ONE_OF_EACH, "ok"),  # exactly on a level passes
        (0.010, (0.008, 0.0151), ONE_OF_EACH, "undecided"),
        (0.017, (0.015, 0.019), ONE_OF_EACH, "undecided"),
        (0.017, (0.0151, 0.019), ONE_OF_EACH, "warning"),
        (0.021, (0.010, 0.030), ONE_OF_EACH, "warning"),  # above critical, without proof
        (0.025, (0.020, 0.030), ONE_OF_EACH, "warning"),
        (0.025, (0.0201, 0.030), ONE_OF_EACH, "critical"),
        (0.03, (0.02, 0.05), Alarm(warning=None, critical=0.04), "undecided"),
        (0.05, (0.02, 0.08), Alarm(warning=None, critical=0.04), "warning"),
        (None, None, ONE_OF_EACH, "not measured"),
    ],
)
def test_levels(value: float | None, interval: tuple[float, float] | None, alarm: Alarm, expected: str) -> None:
    assert level(value, interval, alarm) == expected


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """Call the entry point with arguments; gives the exit status."""

    def call(*arguments: object) -> object:
        monkeypatch.setattr(sys, "argv", ["monitor", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            monitor.main()
        return caught.value.code

    return call


@pytest.mark.parametrize(
    ("counts", "milliseconds", "status", "bad"),
    [
        ({(0.1, 0): 990, (0.9, 0): 2, (0.9, 1): 400, (0.1, 1): 2}, 2.0, 0, []),
        ({(0.1, 0): 990, (0.9, 0): 2}, 4.0, 1, ["p95_ms warning"]),
        ({(0.1, 0): 990, (0.9, 0): 2}, 6.0, 3, ["p95_ms critical"]),
        ({(0.1, 0): 900, (0.9, 0): 100}, 2.0, 3, ["false_positive_rate critical"]),
        ({(0.9, 1): 95, (0.1, 1): 5, (0.1, 0): 400}, 2.0, 1, ["false_negative_rate warning"]),
        ({(0.9, 1): 800, (0.1, 1): 200, (0.1, 0): 400}, 2.0, 3, ["false_negative_rate critical"]),
        ({(0.1, None): 900, (None, None): 100}, 2.0, 3, ["error_rate critical"]),
    ],
)
def test_the_exit_status_is_the_worst_level(
    counts: dict[tuple[float | None, int | None], int], milliseconds: float, status: int, bad: list[str],
    tmp_path: Path, door: Callable[..., object],
) -> None:  # fmt: skip
    path = make_log(tmp_path / "served.jsonl", counts, milliseconds=milliseconds)  # type: ignore[arg-type]
    written = tmp_path / "new" / "health.json"
    assert door(path, "--json", written, "--html", tmp_path / "health.html") == status
    found = Health.model_validate_json(written.read_text())
    assert [f"{one.name} {one.level}" for one in found.checks if one.level in ("warning", "critical")] == bad
    assert found.status == status
    assert found.lines == sum(counts.values())


def test_other_levels_by_the_command_line(tmp_path: Path, door: Callable[..., object], capsys: Any) -> None:
    path = make_log(tmp_path / "served.jsonl", {(0.1, None): 500}, milliseconds=4.0)  # type: ignore[arg-type]
    assert door(path, "--alarm", "p95_ms=,10") == 0
    assert door(path, "--alarm", "p95_ms=1,2") == 3
    assert door(path, "--alarm", "p95_ms=3,2") == 2
    assert "two rising levels" in capsys.readouterr().err
    assert door(path, "--alarm", "p96_ms=3,2") == 2
    assert "choose among p95_ms, false_positive_rate" in capsys.readouterr().err
    assert door("--help") == 0
    assert "p95_ms 3.5,5; false_positive_rate 0.015,0.02; false_negative_rate ,0.04" in " ".join(
        capsys.readouterr().out.split()
    )


def test_labels_that_come_later_win_and_strangers_are_counted(tmp_path: Path, door: Callable[..., object]) -> None:
    path = make_log(tmp_path / "served.jsonl", {(0.9, 1): 10, (0.1, None): 90})
    given = [{"id": f"call-{number}", "label": int(1 <= number < 10)} for number in [*range(100), 7000]]
    labels = tmp_path / "labels.jsonl"
    labels.write_text("\n".join(map(json.dumps, given)))
    found = monitor.monitor(path, Wanted(labels=read_labels(labels)), Alarms())
    assert found.false_positive_rate.value == pytest.approx(1 / 91)
    assert found.labelled == 100
    assert found.notes == ("1 given labels belong to no wanted line.",)
    labels.write_text('{"id": "a", "label": 1}\n\n{"id": "a", "label": 0}')
    with pytest.raises(UserError, match=r"line 3: the call a has two labels"):
        read_labels(labels)
    labels.write_text('{"id": "a", "lable": 1}')
    assert door(path, "--labels", labels) == 2


def test_time_and_model_choose_the_lines(tmp_path: Path, door: Callable[..., object], capsys: Any) -> None:
    lines = [make_line(number, 0.1, model="old" if number < 60 else "new") for number in range(100)]
    path = write_log(tmp_path / "served.jsonl", lines)
    assert door(path) == 2
    assert "'old' and of 'new': choose one with --model" in capsys.readouterr().err
    until = datetime(2026, 1, 31, 12, 1, tzinfo=UTC)
    assert monitor.monitor(path, Wanted(until=until), Alarms()).lines == 60
    assert monitor.monitor(path, Wanted("new", since=until), Alarms()).lines == 40
    assert door(path, "--since", "2026-01-31T12:01:00+00:00", "--model", "old") == 2
    assert "is anything served at all?" in capsys.readouterr().err
    assert door(path, "--since", "2026-01-31") == 2
    assert "has no zone" in capsys.readouterr().err
    assert door(tmp_path / "absent.jsonl") == 2


def test_a_good_past_hides_no_outage_from_who_asks_for_the_last_hour(
    tmp_path: Path, door: Callable[..., object], capsys: Any
) -> None:
    ago = (datetime.now(UTC) - timedelta(minutes=10_000)) - START
    lines = [make_line(number, 0.1 if number < 9900 else None, every=60.0) for number in range(10_000)]
    dated = [line.model_copy(update={"time": line.time + ago}) for line in lines]
    path = write_log(tmp_path / "served.jsonl", dated)  # seven days, of which the last hundred minutes failed
    assert door(path) == 0
    assert door(path, "--since", "1h") == 3
    assert door(path, "--until", "2h") == 0
    path.write_text("".join(line.model_dump_json(exclude_none=True) + "\n" for line in dated[:9900]))
    assert door(path, "--since", "1h") == 2  # nobody answers at all: no alarm would be the wrong answer
    assert "is anything served at all?" in capsys.readouterr().err
    assert door(path, "--since", "1 hour") == 2
    assert "is no time" in capsys.readouterr().err


def test_a_torn_last_line_is_noted_and_no_more(tmp_path: Path) -> None:
    path = make_log(tmp_path / "served.jsonl", {(0.1, 0): 200})
    path.write_text(path.read_text() + '{"id": "call-2')
    found = monitor.monitor(path, Wanted(), Alarms())
    assert (found.lines, found.unreadable) == (200, 1)
    assert "number 201" in found.notes[0]


@pytest.mark.parametrize(
    "change",
    [{"lable": 1}, {"decision": None}, {"error": "KeyError"}, {"attack_probability": 2}, {"time": "2026-01-31T12:00"}],
)
def test_a_line_says_one_thing(change: dict[str, object]) -> None:
    line = json.loads(make_line(1).model_dump_json()) | change
    with pytest.raises(ValueError, match=r"Served"):
        Served.model_validate_json(json.dumps(line))


def test_drift_alarms_against_a_report_and_says_what_it_was_compared_with(tmp_path: Path) -> None:
    rows = make_rows(200, 300)
    make_report(tmp_path / "report", rows, make_probability(rows), model_id="another")
    generator = np.random.default_rng(1)
    lines = [
        make_line(number, float(score), characters=int(generator.integers(500, 900)))
        for number, score in enumerate(np.where(generator.random(800) < 0.1, 0.8, generator.uniform(0.05, 0.45, 800)))
    ]
    found = monitor.monitor(write_log(tmp_path / "log", lines), Wanted(), Alarms(), tmp_path / "report" / "report.json")
    levels = {one.name: one.level for one in found.checks}
    assert levels["length_drift"] == "critical"
    assert found.status == 3
    assert found.attack_share == pytest.approx(0.1, abs=0.03)
    assert "The report is on another, the log of student" in found.notes[0]
    assert "40.0% attacks" in found.notes[1]


def test_the_page_is_whole_and_deaf_to_hostile_names(tmp_path: Path) -> None:
    lines = [make_line(number, 0.1, model=HOSTILE[0] + HOSTILE[1], every=30.0) for number in range(200)]
    make_report(tmp_path / "report", model_id=HOSTILE[2])
    found = monitor.monitor(write_log(tmp_path / "log", lines), Wanted(), Alarms(), tmp_path / "report")
    page = to_html(found)
    assert page == to_html(found)
    assert page.count("<svg") == 2
    text = " ".join(" ".join(outline(page).text).split())
    for phrase in ("in service", "latency P95, ms", "Against the evaluation of", "within 0.1 %", "drift of lengths"):
        assert phrase in text, phrase
    assert "<script" not in page
