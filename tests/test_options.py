"""eval.options: estimates judged by hand, reports taken over only where fresh, the table, and its configuration."""

from __future__ import annotations

import importlib.util
import json
import shlex
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError
from report_factory import REPEATS, SEED, make_probability, make_report, make_rows

from core import manifest
from core.config import load
from core.data import Corpus
from core.errors import UserError
from core.faults import DataFaults
from core.provenance import hardware, versions
from core.rows import fingerprint
from core.schema import Evaluation, Experiment
from core.schema.options import Estimate, Options
from eval import kept, options
from eval.comparing import options_judging
from eval.comparing.comparison import Side
from eval.comparing.expectations import expectation
from eval.comparing.freshness import stale, take_over
from eval.comparing.options_page import to_build
from eval.evaluator import Outcome
from eval.report import read, write
from eval.schema import Hardware, Report
from eval.schema.options import Figure, Table

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "options.yaml"
ROWS = make_rows()  # 40 attacks, then 60 benign texts
EVALUATION = Evaluation(split="test", bootstrap_repeats=REPEATS)
FILES = {"graph.onnx": "0" * 64}
ALONE = ["data.train=[README.md]", "data.validation=[README.md]", "data.test=[README.md]", "data.extra={}"]


def test_an_estimate_is_a_number_or_a_range_in_order() -> None:
    said = {"source": "a roadmap", "p95_ms": 3, "binary_f1": [0.9, 0.92]}
    found = Estimate.model_validate_json(json.dumps(said), strict=True)
    assert (found.p95_ms, found.binary_f1, found.model_size_mb) == ((3.0,), (0.9, 0.92), None)
    assert Estimate.model_validate_json(found.model_dump_json(), strict=True) == found
    for wrong, message in (([0.92, 0.9], "from 0.92 down to 0.9"), ([1, 2, 3], "at most 2"), (-1, "greater than 0")):
        with pytest.raises(ValidationError, match=message):
            Estimate.model_validate_json(json.dumps(said | {"p95_ms": wrong}), strict=True)


def test_rows_are_told_apart_and_the_reference_is_one_of_them() -> None:
    def row(name: str, checkpoint: str) -> dict[str, object]:
        return {"name": name, "checkpoint": checkpoint, "build": ["python -m a.b --config c.yaml"]}

    first = row("one", "artifacts/a/student")
    assert Options.model_validate({"rows": [first], "reference": "one"}).rows[0].key == "a-student"
    for rows, reference, message in (
        ([first, row("one", "artifacts/b/student")], None, 'the name "one"'),
        ([first, row("two", "elsewhere/a/student")], None, '"a-student"'),
        ([first], "two", "the name of no row"),
    ):
        with pytest.raises(ValidationError, match=message):
            Options.model_validate({"rows": rows, "reference": reference})


@pytest.mark.parametrize(
    ("figure", "expected", "measured", "interval", "verdict", "off"),
    [
        ("binary_f1", (0.95, 0.95), 0.94, (0.93, 0.95), "right", None),
        ("binary_f1", (0.955, 0.955), 0.91, (0.90, 0.92), "optimistic", 0.91 - 0.955),
        ("binary_f1", (0.90, 0.92), 0.95, (0.94, 0.96), "pessimistic", 0.95 - 0.92),
        ("false_positive_rate", (0.008, 0.008), 0.03, (0.02, 0.04), "optimistic", 0.03 - 0.008),
        ("p95_ms", (3.0, 4.0), 12.0, (11.0, 13.0), "optimistic", 3.0),
        ("p95_ms", (10.0, 10.0), 5.0, (4.0, 6.0), "pessimistic", 0.5),
        ("model_size_mb", (48.0, 48.0), 46.0, None, "right", None),
        ("model_size_mb", (25.0, 25.0), 50.0, None, "optimistic", 2.0),
        ("mean_ms", (0.01, 2.0), 1.0, None, "right", None),
        ("p95_ms", (3.0, 3.0), None, None, "not measured", None),
    ],
)
def test_an_estimate_beside_its_measurement(
    figure: Figure,
    expected: tuple[float, float],
    measured: float | None,
    interval: tuple[float, float] | None,
    verdict: str,
    off: float | None,
) -> None:
    found = expectation("a roadmap", figure, expected, measured, interval)
    assert found.verdict == verdict
    assert found.off == (None if off is None else pytest.approx(off))


def here(folder: Path, wrong: list[int], milliseconds: float, **changed: object) -> Report:
    """A report as judging `FILES` on this machine would write it now, but for what is changed in its provenance."""
    made = make_report(folder, ROWS, make_probability(ROWS, wrong), milliseconds=milliseconds)
    known = {**made.provenance, "files": FILES, "versions": versions(), **changed}
    report = made.model_copy(update={"provenance": known, "hardware": Hardware.model_validate(hardware())})
    write(report, folder)
    return report


def asked() -> Mapping[str, object]:
    return {
        "seed": SEED,
        "fingerprints": {"test": fingerprint(ROWS)},
        "versions": versions(),
        "hardware": hardware(),
    }


def test_a_report_is_taken_over_only_where_judging_again_would_say_the_same(tmp_path: Path) -> None:
    report = here(tmp_path, [0, 1], 2.0)
    found = take_over("a name", tmp_path, FILES, asked(), EVALUATION)
    assert isinstance(found, Side)
    assert (found.name, found.report) == ("a name", read(tmp_path))
    assert stale(report, FILES | {"more": "1"}, asked(), EVALUATION) == "the checkpoint has other bytes now"
    instead = {**FILES, "serving": "1" * 64}
    assert stale(report, instead, asked(), EVALUATION) == "the checkpoint is served otherwise now"
    other_texts = {**asked(), "fingerprints": {"test": "other"}}
    assert stale(report, FILES, other_texts, EVALUATION) == "it is on other texts"
    assert "another seed" in str(stale(report, FILES, {**asked(), "seed": 14}, EVALUATION))
    assert "other versions" in str(stale(report, FILES, {**asked(), "versions": {}}, EVALUATION))
    elsewhere = {**asked(), "hardware": {**hardware(), "cpu": "another"}}
    assert "another machine" in str(stale(report, FILES, elsewhere, EVALUATION))
    untimed = EVALUATION.model_copy(update={"latency_calls": 0})
    assert stale(report, FILES, elsewhere, untimed) is None  # its milliseconds are not asked for
    longer = EVALUATION.model_copy(update={"latency_calls": 2000})
    assert stale(report, FILES, asked(), longer) == "it was judged with another evaluation.latency_calls"


def test_a_report_without_its_evidence_is_not_taken_over(tmp_path: Path) -> None:
    here(tmp_path, [], 2.0)
    (tmp_path / kept.CALLS).unlink()
    assert take_over("a name", tmp_path, FILES, asked(), EVALUATION) == "it was not timed"
    (tmp_path / kept.PREDICTIONS).unlink()
    assert "cannot read" in str(take_over("a name", tmp_path, FILES, asked(), EVALUATION))


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """Three options: two built, with fresh reports beside them, of which the second misses twelve more attacks."""
    rows = []
    made = {"small": ([0, 1], 2.0), "tiny": (list(range(14)), 1.0), "absent": ([], 0.0)}
    for name, (wrong, milliseconds) in made.items():
        folder = tmp_path / name / "student"
        estimates = [{"source": "a roadmap", "binary_f1": [0.99], "model_size_mb": [23]}]
        build = [f"python -m distill.train --config configs/{name}.yaml"]
        rows.append({"name": name, "checkpoint": str(folder), "build": build, "estimates": estimates})
        if name != "absent":
            folder.mkdir(parents=True)
            (folder / "graph.onnx").write_bytes(name.encode())
            basis = {"version": "1", "status": "active", "kind": "onnx", "embedding_dim": 2, "max_length": 8}
            files = manifest.write(folder, {"name": "student", **basis}).fields["files"]
            here(tmp_path / name / "reports" / "student-test", wrong, milliseconds, files=files)
    corpus = Corpus({"test": ROWS}, {"test": fingerprint(ROWS)}, False, DataFaults())
    monkeypatch.setattr(options_judging, "rows_of", lambda experiment: corpus)
    return Experiment.model_validate(
        {
            "name": "options",
            "output": str(tmp_path / "out"),
            "data": {"test": [str(ROOT / "README.md")]},
            "evaluation": EVALUATION.model_dump(),
            "options": {"reference": "small", "rows": rows},
        }
    )


def test_the_table_of_what_is_there(experiment: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    assert options.work(experiment, Namespace(again=False)) == options.SOME
    folder = experiment.output / "options-test"
    table = Table.model_validate_json((folder / "options.json").read_text())
    small, tiny = table.rows
    assert (small.name, tiny.name, table.reference) == ("small", "tiny", "small")
    assert small.taken_over
    assert small.binary_f1 == pytest.approx(2 * 38 / (2 * 38 + 2))
    assert tiny.binary_f1 == pytest.approx(2 * 26 / (2 * 26 + 14))
    change = tiny.changes["binary_f1"]
    assert change.interval is not None
    assert change.difference is not None
    assert change.difference == pytest.approx(2 * 26 / (2 * 26 + 14) - 2 * 38 / (2 * 38 + 2))
    assert change.interval[0] < change.difference < change.interval[1] < 0
    assert tiny.p95_ratio is not None
    assert tiny.p95_ratio.ratio == pytest.approx(0.5, rel=0.05)  # one millisecond to two, beside the same workload
    assert [one.verdict for one in tiny.expectations] == ["right", "optimistic"]  # 23.5 MB for 23; F1 below 0.99
    assert [(one.name, one.reason) for one in table.missing] == [("absent", "not built")]
    page, printed = (folder / "options.md").read_text(), capsys.readouterr().out
    for text in (page, printed):
        assert "python -m distill.train --config configs/absent.yaml" in text
    assert f"{tiny.binary_f1:.3f}" in page
    assert "reference" in page
    board = (folder / "options.html").read_text()
    assert "F1 against latency" in board
    assert 'href="options-costs.html"' in board
    costs = (folder / "options-costs.html").read_text()
    assert "saved against <bdi>small</bdi>" in costs
    assert f"{change.difference:+.4f}</span>" in costs  # beside what tiny saves
    assert costs.count('data-show="saves"') == 2


def test_a_report_of_the_table_says_which_folder_it_is_on(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of eval.run does: by it the dashboard tells two options apart whose folders have one name."""
    asked, folder = list[Experiment](), experiment.output.parent / "tiny" / "reports" / "student-test"

    def judged(given: Experiment, *_: object) -> Outcome:
        asked.append(given)
        return Outcome(read(folder), kept.read(folder))

    monkeypatch.setattr(options_judging, "judged", judged)
    monkeypatch.setattr(options_judging, "open_pipeline", lambda folder: None)
    option, rows = experiment.options.rows[1], options_judging.Rows(options_judging.rows_of(experiment), None)
    options_judging.judge_one(experiment, option, rows, again=True)
    assert [one.checkpoint for one in asked] == [option.checkpoint]


def test_what_made_a_row_that_is_there_is_not_to_be_done_again(experiment: Experiment) -> None:
    assert options.work(experiment, Namespace(again=False)) == options.SOME
    table = Table.model_validate_json((experiment.output / "options-test" / "options.json").read_text())
    done, shared, own = table.rows[0].build[0], "python -m a.b --config c.yaml", "python -m a.c --config c.yaml"
    lacking = table.missing[0].model_copy(update={"build": (done, shared)})
    more = lacking.model_copy(update={"build": (done, shared, own)})
    assert to_build(table.model_copy(update={"missing": (lacking, more)})) == [shared, own]


def test_a_report_on_a_folder_that_is_served_otherwise_now_is_not_taken_over(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = experiment.options.rows[1].checkpoint
    fields = manifest.read(folder).fields
    manifest.write(folder, {**fields, "serving": {"decode": "instead", "decoded_limit": 0.5, "first_layer": None}})
    monkeypatch.setattr(options_judging, "open_pipeline", lambda folder: None)
    monkeypatch.setattr(options_judging, "judged", lambda *_: (_ for _ in ()).throw(UserError("it would be judged")))
    assert options.work(experiment, Namespace(again=False)) == options.SOME
    assert "is not taken over: the checkpoint is served otherwise now" in capsys.readouterr().out


def test_a_damaged_option_leaves_the_others_in(experiment: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    (experiment.options.rows[0].checkpoint / "graph.onnx").write_bytes(b"damaged")
    assert options.work(experiment, Namespace(again=False)) == options.SOME
    table = Table.model_validate_json((experiment.output / "options-test" / "options.json").read_text())
    assert [row.name for row in table.rows] == ["tiny"]
    assert table.reference is None
    assert table.rows[0].changes == {}
    assert "SHA-256" in table.missing[0].reason
    assert table.notes[0].startswith("The reference, small, is not in the table")


def test_nothing_to_judge_is_refused_before_anything_is_read(experiment: Experiment) -> None:
    empty = experiment.model_copy(update={"options": Options()})
    with pytest.raises(UserError, match=r"options\.rows"):
        options.work(empty)
    absent = experiment.options.rows[2]
    with pytest.raises(UserError, match=r"none of the 1 checkpoints .* configs/absent\.yaml"):
        options.work(experiment.model_copy(update={"options": Options(rows=(absent,))}))
    assert not experiment.output.exists()


def test_every_shipped_row_is_made_by_its_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command's module and configuration are there, its overrides are accepted, and the last one writes there."""
    monkeypatch.chdir(ROOT)
    shipped = load(CONFIG, ALONE)
    assert shipped.options.reference
    checked: dict[str, Path] = {}
    for row in shipped.options.rows:
        for command in row.build:
            if command not in checked:
                checked[command] = output_of(command)
        assert checked[row.build[-1]] == row.checkpoint.parent, row.name


def output_of(command: str) -> Path:
    """Where a command writes. Fails where it names what is not there."""
    python, flag, module, *arguments = shlex.split(command)
    assert (python, flag, arguments[0]) == ("python", "-m", "--config")
    assert importlib.util.find_spec(module) is not None
    given = [argument for argument in arguments[2:] if "=" in argument]
    unlabelled = "unlabelled" in yaml.safe_load((ROOT / arguments[1]).read_text())["data"]
    data = [*ALONE, *(["data.unlabelled=[README.md]"] if unlabelled else [])]
    return load(ROOT / arguments[1], [*data, *given]).output
