"""eval.report: JSON, Markdown and tables say the same as the report they come from, and the schema is published."""

import io
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from rich.console import Console

from core.errors import UserError
from core.provenance import hardware, provenance, timestamp
from core.rows import Rows
from core.schema import Evaluation
from eval import report as reports
from eval.cells import amount, escape, markdown_table
from eval.evaluator import Outcome
from eval.judge import Measured, judge
from eval.kept import Answers, Calls, Kept
from eval.schema import SYNTHETIC, Hardware, Report, Resources
from eval.schema.__main__ import published
from eval.tables import VERDICT_HEAD, verdict_rows

ROOT = Path(__file__).resolve().parents[1]
CALLS = Calls(
    np.arange(1000) % 40,
    {name: np.full(1000, 500_000) + np.arange(1000) for name in ("tokenise", "encode", "classify", "post-process")},
    np.where(np.arange(1000) % 4 == 0, 1_000_000, -1),
    1,
)


def outcome(*, synthetic: bool = False, calls: Calls | None = CALLS, size: int = 23_456_000, rows: int = 40) -> Outcome:
    """As many attacks, all caught, as benign rows, one of them flagged."""
    half = rows // 2
    labels = np.repeat([1, 0], half)
    families = ("A|B",) * half + ("BENIGN",) * half
    texts = tuple(f"<b>text</b> {i}" for i in range(rows))
    source = tuple("ab"[i % 2] + "|<i>" for i in range(rows))
    data = Rows(texts, labels, families, families, tuple(map(str, range(rows))), source)
    scores = np.array([0.9] * (half + 1) + [0.1] * (half - 1))
    said = ("A|B",) * (half + 1) + ("BENIGN",) * (half - 1)
    kept = Kept(data, Answers(scores, said, said, np.ones(rows), np.ones(rows)), calls)
    measured = Measured(
        model_id="student|int8", timestamp=timestamp(), hardware=Hardware.model_validate(hardware()), split="test",
        synthetic=synthetic, provenance=provenance({"name": "x"}, 13, {"test": "f1f2f3"}),
        resources=Resources(
            model_size_mb=size / 1e6, bytes_by_group={"encoder": size}, memory_usage_mb=97.2, cpu_usage_percent=99.0
        ),
    )  # fmt: skip
    return Outcome(judge(kept, measured, Evaluation(bootstrap_repeats=100), 13), kept)


def made(**settings: object) -> Report:
    return outcome(**settings).report  # type: ignore[arg-type]


def printed(width: int = 200) -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, width=width), stream


def test_json_keeps_the_keys_of_the_template() -> None:
    content = json.loads(reports.to_json(made()))
    assert set(content["hardware"]) >= {"cpu", "cores", "memory_gb", "os"}
    assert set(content["latency"]) >= {"mean_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "max_ms", "std_ms"}
    assert set(content["accuracy"]) >= {
        "binary_f1", "binary_precision", "binary_recall", "family_f1", "subfamily_f1", "false_positive_rate",
        "false_negative_rate", "confusion_matrix",
    }  # fmt: skip
    assert set(content["resources"]) >= {"model_size_mb", "memory_usage_mb", "cpu_usage_percent"}
    assert set(content["meets_targets"]) >= {"latency", "size", "accuracy", "fpr"}
    assert content["accuracy"]["confusion_matrix"] == {"tp": 20, "fp": 1, "tn": 19, "fn": 0}
    assert content["accuracy"]["binary_f1"] == 40 / 41  # not rounded
    assert content["meets_targets"]["size"] is True
    assert content["meets_targets"]["fpr"] is None  # 1 of 20 decides nothing about 1 %
    assert content["judgements"]["fpr"]["verdict"] == "undecided"
    assert content["synthetic"] is None


def test_the_published_schema_is_this_code_s() -> None:
    stored = json.loads((ROOT / "eval" / "report.schema.json").read_text(encoding="utf-8"))
    assert stored == json.loads(json.dumps(published())), "python -m eval.schema > eval/report.schema.json"
    assert stored["$id"].endswith(f":{made().schema_version}")


def test_reports_are_valid_by_the_published_schema() -> None:
    schema = json.loads((ROOT / "eval" / "report.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for report in (made(), made(calls=None, synthetic=True)):
        content = json.loads(reports.to_json(report))
        validator.validate(content)
        assert not validator.is_valid({**content, "surprise": 1})
        assert not validator.is_valid({**content, "rows": 0})
        assert not validator.is_valid({**content, "schema_version": 3})


@pytest.mark.parametrize("calls", [CALLS, None])
@pytest.mark.parametrize("synthetic", [True, False])
def test_round_trip(tmp_path: Path, calls: Calls | None, synthetic: bool) -> None:
    report = made(calls=calls, synthetic=synthetic)
    paths = reports.write(report, tmp_path / "deep" / "folder")
    assert [path.name for path in paths] == ["report.json", "report.md"]
    assert reports.read(paths[0]) == reports.read(paths[0].parent) == report
    reports.write(report, tmp_path / "deep" / "folder")
    assert sorted(path.name for path in paths[0].parent.iterdir()) == ["report.json", "report.md"]


def test_an_outcome_is_written_with_its_page_and_its_evidence(tmp_path: Path) -> None:
    done = outcome()
    names = [path.name for path in reports.write_outcome(done, tmp_path)]
    assert names == ["report.json", "report.md", "report.html", "predictions.parquet", "calls.parquet"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert reports.read(tmp_path) == done.report


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[]", "schema version None"),
        ('{"schema_version": 1}', r"schema version 1, this code reads 2: judge again with `python -m eval\.run`"),
        ('{"schema_version": 2, "model_id": "x"}', "accuracy: Field required"),
        (None, "cannot read the report"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    with pytest.raises(UserError, match=message):
        reports.read(tmp_path)


def test_an_edited_report_is_refused(tmp_path: Path) -> None:
    content = json.loads(reports.to_json(made()))
    content["accuracy"]["false_positive_rate"] = 0.005
    (tmp_path / "report.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"false_positive_rate is 0\.005, but the counts give 0\.05"):
        reports.read(tmp_path)


def test_markdown_puts_the_verdict_first_and_the_stamp_above() -> None:
    report = made(synthetic=True)
    page = reports.to_markdown(report)
    parts = (SYNTHETIC, "## Verdict: ", "## Notes", "## Accuracy", "## Latency", "## Families", "## Hardware")
    order = [page.index(part) for part in parts]
    assert order == sorted(order)
    assert "| size, MB | 23.5 | – | &lt;= 50 | met | +26.54 |" in page
    assert "| false-positive rate | 0.0500 | 0.0089 to 0.2361 | &lt; 0.01 | undecided |" in page
    assert "| false-positive rate | 0.0500 | 0.0089 to 0.2361 |" in page
    assert "| A\\|B | 20 | 1.0000 |" in page
    assert "<i>" not in page  # a source's name opens no tag
    for part in (report.provenance["config_hash"], "f1f2f3", " ".join(report.hardware.cpu_flags), "| Seed | 13 |"):
        assert part in page
    assert SYNTHETIC not in reports.to_markdown(made())


def test_every_row_of_every_table_has_its_columns() -> None:
    for block in reports.to_markdown(made()).split("\n\n"):
        if block.startswith("|"):
            assert len({line.replace("\\|", "").count("|") for line in block.strip().splitlines()}) == 1


def test_what_was_not_measured_is_said() -> None:
    page = reports.to_markdown(made(calls=None))
    assert "| latency P95, ms | not measured | – | &lt; 3 | not measured | – | latency was not measured |" in page


def test_rounding_never_shows_a_value_on_its_limit() -> None:
    rows = {row[0]: dict(zip(VERDICT_HEAD, row, strict=True)) for row in verdict_rows(made(size=50_040_000))}
    assert (rows["size, MB"]["Measured"], rows["size, MB"]["Verdict"]) == ("50.04", "missed")


def test_digits() -> None:
    assert [amount(value) for value in (0.1234, 1.234, 12.34, 123.4, None)] == [
        "0.123", "1.23", "12.3", "123", "not measured",
    ]  # fmt: skip


def test_cells_stay_in_their_cell() -> None:
    assert markdown_table(("a",), [("x|y\nz",)]).splitlines() == ["| a |", "| --- |", "| x\\|y z |"]
    assert escape("<script>") == "&lt;script>"
    assert escape("[click](http://x) `code` [0.1, 0.2]") == "[click]\\(http://x) \\`code\\` [0.1, 0.2]"
    assert escape("\x1b[2J") == "?[2J"


def test_comparison() -> None:
    both = {"int8": made(), "step|1": made(calls=None, size=80_000_000)}
    table = reports.comparison(both)
    assert table.splitlines()[0] == "|  | int8 | step\\|1 |"
    assert "| judged on | test, 40 rows | test, 40 rows |" in table
    assert "| P95, ms | 2.00 | not measured |" in table
    assert "| target: size | met | missed |" in table
    assert "| target: latency | met | not measured |" in table
    low, high = both["int8"].accuracy.intervals.binary_f1 or (0, 0)
    assert f"| F1 | 0.976 ({low:.3f}–{high:.3f}) |" in table
    names = [line.split(" | ")[0].strip("| ") for line in table.splitlines()[2:]]
    assert names == [
        "judged on", "runs as", "F1", "precision", "recall", "FPR", "AUROC", "family F1", "sub-family F1", "P50, ms",
        "P95, ms", "P99, ms", "size, MB", "memory, MB", "target: latency", "target: size", "target: accuracy",
        "target: fpr", "target: recall", "target: memory", "target: latency p50", "target: latency p99",
    ]  # fmt: skip
    assert SYNTHETIC not in table
    stamped = reports.comparison({**both, "toy": made(synthetic=True)})
    assert stamped.startswith(f"> **{SYNTHETIC} (toy)**\n\n|")


def test_printing_shows_the_same() -> None:
    console, stream = printed()
    reports.print_comparison({"[red]int8": made(synthetic=True)}, console)
    shown = stream.getvalue()
    assert SYNTHETIC in shown
    assert "[red]int8" in shown  # a name is not markup
    assert "0.976" in shown
    console, stream = printed()
    reports.print_verdict(made(), console)
    assert "undecided" in stream.getvalue()
