"""eval.gate: every rule at its limit, what wins over what, and the example workflow's own command."""

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from report_factory import make_probability, make_report, make_rows

from core.config import load
from core.errors import UserError
from core.schema import Experiment
from eval.gate import declare, main
from eval.gates import judge
from eval.schema import Noise, Percentiles, Report
from eval.schema.gate import NOT_JUDGED, PASSED, REGRESSION, ROLLBACK, Check, Gate, Rules
from eval.schema.race import Contestant, Peer, Race, Ratio

ROOT = Path(__file__).resolve().parents[1]
ROWS = make_rows(200, 200)


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Two of 200 attacks missed, one of 200 benign texts flagged."""
    return make_report(tmp_path_factory.mktemp("baseline"), ROWS, make_probability(ROWS, [0, 1, 300]))


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """Call the entry point with arguments; gives the exit status."""

    def call(*arguments: object) -> object:
        monkeypatch.setattr(sys, "argv", ["gate", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        return caught.value.code

    return call


def changed(report: Report, part: str, values: Mapping[str, Any]) -> Report:
    """The report with some figures of a part replaced, unchecked: the rules read figures, whatever made them."""
    return report.model_copy(update={part: getattr(report, part).model_copy(update=dict(values))})


def by_name(gate: Gate) -> dict[str, Check]:
    return {check.name: check for check in gate.checks}


def test_a_report_passes_against_itself(baseline: Report) -> None:
    gate = judge(baseline, baseline, Rules())
    assert gate.status() == PASSED
    assert {check.outcome for check in gate.checks} == {"pass"}
    assert {check.name for check in gate.checks} == {
        "rollback.false_positive_rate", "rollback.false_negative_rate", "accuracy.binary_f1",
        "accuracy.binary_precision", "accuracy.binary_recall", "accuracy.family_f1", "accuracy.subfamily_f1",
        "accuracy.auroc", "accuracy.average_precision", "accuracy.recall_at_1_percent_fpr",
        "accuracy.false_positive_rate", "accuracy.false_negative_rate", "accuracy.expected_calibration_error",
        "accuracy.brier_score", "size_mb", "latency.p50_ratio", "latency.p95_ratio",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "step"),
    [
        *((name, -1) for name in (
            "binary_f1", "binary_precision", "binary_recall", "family_f1", "subfamily_f1", "auroc",
            "average_precision", "recall_at_1_percent_fpr",
        )),
        *((name, 1) for name in ("expected_calibration_error", "brier_score")),
    ],
)  # fmt: skip
def test_a_figure_may_worsen_by_the_limit_and_no_more(baseline: Report, name: str, step: int) -> None:
    then = getattr(baseline.accuracy, name)
    for worse, status in ((0.01, PASSED), (0.0101, REGRESSION), (-0.2, PASSED)):
        gate = judge(changed(baseline, "accuracy", {name: then + step * worse}), baseline, Rules())
        check = by_name(gate)[f"accuracy.{name}"]
        assert gate.status() == status
        assert check.value == pytest.approx(worse)
        assert (check.outcome, check.limit) == ("fail" if status else "pass", 0.01)


@pytest.mark.parametrize("name", ["false_positive_rate", "false_negative_rate"])
def test_error_rates_may_rise_by_the_limit_below_the_rollback_rule(baseline: Report, name: str) -> None:
    then = changed(baseline, "accuracy", {name: 0.0})
    assert judge(changed(baseline, "accuracy", {name: 0.0099}), then, Rules()).status() == PASSED
    assert judge(changed(baseline, "accuracy", {name: 0.0101}), then, Rules()).status() == REGRESSION


@pytest.mark.parametrize(("name", "limit"), [("false_positive_rate", 0.015), ("false_negative_rate", 0.04)])
def test_the_rollback_rule_wins_whatever_the_baseline_does(baseline: Report, name: str, limit: float) -> None:
    on = changed(baseline, "accuracy", {name: limit})
    over = changed(baseline, "accuracy", {name: limit + 1e-4, "binary_f1": 0.0})
    assert judge(on, on, Rules()).status() == PASSED
    gate = judge(over, over, Rules())
    assert by_name(gate)[f"rollback.{name}"].kind == "rollback"
    assert gate.status() == ROLLBACK
    assert judge(over, baseline, Rules()).status() == ROLLBACK  # F1 fell too
    assert judge(over, over, Rules(max_fpr=0.5, max_fnr=0.5)).status() == PASSED


def test_the_size_budget_is_the_reports_target_unless_given(baseline: Report) -> None:
    assert baseline.targets.model_size_mb == 50
    for size, status in ((50.0, PASSED), (50.001, REGRESSION)):
        assert judge(changed(baseline, "resources", {"model_size_mb": size}), baseline, Rules()).status() == status
    gate = judge(baseline, baseline, Rules(max_size_mb=20))
    assert by_name(gate)["size_mb"].sentence == "23.500 MB; at most 20"
    assert gate.status() == REGRESSION
    without = changed(baseline, "targets", {"model_size_mb": None})
    assert "size_mb" not in by_name(judge(without, baseline, Rules()))


@pytest.mark.parametrize("name", ["p50_ms", "p95_ms"])
def test_a_slowdown_is_a_ratio_on_the_same_machine(baseline: Report, name: str) -> None:
    then = getattr(baseline.latency, name)
    for factor, status in ((1.10, PASSED), (1.11, REGRESSION), (0.1, PASSED)):
        gate = judge(changed(baseline, "latency", {name: then * factor}), baseline, Rules())
        assert by_name(gate)[f"latency.{name.removesuffix('_ms')}_ratio"].value == pytest.approx(factor)
        assert gate.status() == status


def test_what_cannot_be_judged_does_not_pass_by_itself(baseline: Report) -> None:
    assert baseline.latency is not None
    noise = baseline.latency.noise.model_copy(update={"trusted": False, "sentence": "it wavered"})
    for other, message in (
        (baseline.model_copy(update={"latency": None}), "was not timed"),
        (changed(baseline, "hardware", {"cpu": "another"}), "timed on other hardware"),
        (changed(baseline, "hardware", {"cpu_flags": ("amx_int8",)}), "other instruction sets"),
        (changed(baseline, "latency", {"threads": 2}), "thread(s), then with"),
        (changed(baseline, "latency", {"noise": noise}), "it wavered"),
    ):
        for gate in (judge(other, baseline, Rules()), judge(baseline, other, Rules())):
            checks = [by_name(gate)[f"latency.{name}_ratio"] for name in ("p50", "p95")]
            assert {check.outcome for check in checks} == {"not judged"}
            assert all(message in check.sentence for check in checks)
            assert (gate.status(), gate.status(allow_unjudged=True)) == (NOT_JUDGED, PASSED)
    # A regression that was seen is not hidden by what was not.
    worse = changed(baseline.model_copy(update={"latency": None}), "accuracy", {"binary_f1": 0.5})
    assert judge(worse, baseline, Rules()).status() == REGRESSION


def test_a_figure_that_one_report_lacks_is_not_judged(baseline: Report) -> None:
    lacking = changed(baseline, "accuracy", {"subfamily_f1": None})
    assert by_name(judge(lacking, baseline, Rules()))["accuracy.subfamily_f1"].sentence == "the report lacks it"
    assert judge(lacking, baseline, Rules()).status() == NOT_JUDGED
    assert "accuracy.subfamily_f1" not in by_name(judge(lacking, lacking, Rules()))


def test_benign_texts_alone_leave_the_miss_rate_unjudged(tmp_path: Path) -> None:
    report = make_report(tmp_path, make_rows(0, 50))
    gate = judge(report, report, Rules())
    assert by_name(gate)["rollback.false_negative_rate"].sentence == "there is no attack among the 50 rows"
    assert (gate.status(), gate.status(allow_unjudged=True)) == (NOT_JUDGED, PASSED)


def test_other_rows_are_refused(baseline: Report, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the report is on validation, the baseline on test"):
        judge(make_report(tmp_path / "split", ROWS, split="validation"), baseline, Rules())
    fewer = make_report(tmp_path / "rows", ROWS.take(range(100, 300)))
    with pytest.raises(UserError, match=r"the test rows differ: 200 rows with fingerprint .*, 400 with"):
        judge(fewer, baseline, Rules())
    relabelled = make_rows(200, 200)
    labels = np.r_[relabelled.labels[:-1], 1].astype(np.int64)
    other = make_report(tmp_path / "labels", type(ROWS)(
        ROWS.texts, labels, ROWS.families, ROWS.subfamilies, ROWS.groups, ROWS.sources
    ))  # fmt: skip
    with pytest.raises(UserError, match="fingerprint"):
        judge(other, baseline, Rules())
    bare = baseline.model_copy(update={"provenance": {}})
    with pytest.raises(UserError, match="the report names no fingerprint of its test rows"):
        judge(bare, baseline, Rules())


def race(value: float) -> Race:
    """A made race of `student` against `served`."""
    times = Percentiles(mean_ms=1, p50_ms=1, p90_ms=1, p95_ms=1, p99_ms=1, max_ms=1, std_ms=0)
    own = {"folder": "f", "digest": "d", "precision": "onnx", "latency": times, "stages": {}}
    ratio = Ratio(value=value, interval=(value - 0.1, value + 0.1))
    noise = Noise(
        workload="w", samples=100, p50_ms=1, p95_ms=1, slowdown=1, drift=1, trusted=False, sentence="it wavered"
    )
    return Race.model_validate({
        "timestamp": "now", "split": "test", "texts": 2, "calls": 2, "synthetic": None, "noise": noise,
        "hardware": {"cpu": "x", "cores": 1, "memory_gb": 1, "os": "x", "cpu_flags": ()}, "provenance": {},
        "first": Contestant(name="served", model_id="served", **own),
        "peers": (Peer(
            name="student", model_id="student", p50_ratio=ratio, p95_ratio=ratio, geometric_mean_ratio=ratio,
            verdict="slower", sentence="slower", **own,
        ),),
    })  # fmt: skip


def test_a_race_judges_the_latency_of_any_machines(baseline: Report) -> None:
    served = changed(baseline.model_copy(update={"model_id": "served"}), "hardware", {"cpu": "another"})
    for value, status in ((1.1, PASSED), (1.2, REGRESSION)):
        gate = judge(baseline, served, Rules(), race(value))
        assert gate.status() == status
        assert by_name(gate)["latency.p95_ratio"].value == value
    with pytest.raises(UserError, match="the race is of served against student, the gate is about student against"):
        judge(baseline, baseline, Rules(), race(1.0))
    with pytest.raises(UserError, match="the gate is about served against other"):
        judge(baseline.model_copy(update={"model_id": "other"}), served, Rules(), race(1.0))


def test_the_command_exits_and_writes_as_it_says(
    tmp_path: Path, door: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    make_report(tmp_path / "served", ROWS, make_probability(ROWS, [0, 1, 300]), model_id="served")
    make_report(tmp_path / "same", ROWS, make_probability(ROWS, [0, 1, 300]), model_id="evil\n\x1b[2J")
    make_report(tmp_path / "worse", ROWS, make_probability(ROWS, [*range(7), 300]))  # misses 3.5 %
    make_report(tmp_path / "bad", ROWS, make_probability(ROWS, range(300, 320)), milliseconds=None)
    make_report(tmp_path / "older", ROWS)
    file = tmp_path / "older" / "report.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema_version": 1}))
    against = ("--baseline", tmp_path / "served" / "report.json")
    assert door(tmp_path / "same", *against, "--json", tmp_path / "gate.json") == PASSED
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert printed.startswith("evil??[2J against served, test, 400 rows\npass        rollback.false_positive_rate")
    assert printed.endswith("status 0: passed\n")
    written = Gate.model_validate_json((tmp_path / "gate.json").read_bytes())
    assert len(printed.splitlines()) == len(written.checks) + 2
    assert written.rules == Rules()
    assert door(tmp_path / "worse", *against) == REGRESSION
    assert "FAIL        accuracy.binary_recall                 0.9900 -> 0.9650, -0.0250" in capsys.readouterr().out
    assert door(tmp_path / "worse", *against, "--max-drop", "0.05") == PASSED
    assert door(tmp_path / "bad", *against) == ROLLBACK
    assert door(tmp_path / "older", *against) == NOT_JUDGED
    assert "schema version 1" in capsys.readouterr().err
    assert door(tmp_path / "none", *against) == NOT_JUDGED
    assert door(tmp_path / "same", *against, "--race", tmp_path / "race.json") == NOT_JUDGED
    (tmp_path / "race.json").write_text("{}")
    assert door(tmp_path / "same", *against, "--race", tmp_path / "race.json") == NOT_JUDGED
    assert "is no race" in capsys.readouterr().err
    assert door(tmp_path / "same", *against, "--max-drop", "nan") == NOT_JUDGED
    assert door(tmp_path / "same") == NOT_JUDGED  # no baseline


def test_help_documents_the_statuses(door: Callable[..., object], capsys: pytest.CaptureFixture[str]) -> None:
    assert door("--help") == 0
    text = capsys.readouterr().out
    for line in (
        "    0  passed",
        "    1  a regression",
        "    2  could not judge",
        "    3  the rollback rule is broken",
    ):
        assert line in text


def test_the_example_workflow_calls_what_there_is() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "model-gate.yml").read_text())
    assert set(workflow[True]) == {"workflow_dispatch", "pull_request"}  # YAML 1.1 reads `on` as true
    job = workflow["jobs"]["gate"]
    values = {"MODEL": "models/student-int8", "BASELINE": "baseline/report.json"}
    values |= {name: value for name, value in job["env"].items() if "${{" not in value}
    scripts = [step["run"] for step in job["steps"] if "run" in step]
    assert any("-c constraints.txt" in script for script in scripts)

    def command(module: str) -> list[str]:
        line = next(line for script in scripts for line in script.splitlines() if f"python -m {module}" in line)
        line = line.replace('$(basename "$MODEL")', Path(values["MODEL"]).name).partition(" || ")[0]
        for name, value in values.items():
            line = line.replace(f"${name}", value)
        assert "$" not in line
        return shlex.split(line)[3:]

    parser = argparse.ArgumentParser()
    declare(parser)
    gate = parser.parse_args(command("eval.gate"))
    assert gate.report == Path("judged/reports/student-int8-test")
    assert (gate.max_drop, gate.max_size_mb, gate.max_latency_ratio, gate.allow_unjudged) == (0.01, 50, 1.10, True)
    flag, config, *overrides = command("eval.run")
    assert flag == "--config"
    assert (ROOT / config).exists()  # it reads data from beside the checkout, which a clean clone lacks
    experiment = load(ROOT / "configs" / "quickstart.yaml", overrides)
    assert isinstance(experiment, Experiment)
    assert (str(experiment.output), experiment.evaluation.split) == ("judged", "test")
    assert gate.report == experiment.output / "reports" / f"{Path(str(experiment.checkpoint)).name}-test"
