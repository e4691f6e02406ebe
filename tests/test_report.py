"""eval.report: JSON, Markdown and tables say the same as the report they come from."""

import io
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from core.errors import UserError
from core.provenance import provenance
from core.rows import Rows
from core.schema import Evaluation
from eval import report as reports
from eval.evaluator import accuracy_report
from eval.latency import Latency
from eval.resources import Resources
from eval.schema import SYNTHETIC, Report
from eval.tables import amount, markdown_table, verdict_rows

LATENCY = Latency(1.1, 1.0, 2.0, 2.5, 4.0, 9.87, 0.5, calls=1000, texts=20, threads=1)


@dataclass(frozen=True)
class Predictions:
    attack_probability: np.ndarray
    family: tuple[str, ...]
    subfamily: tuple[str, ...]


def made(folder: Path, *, synthetic: bool = False, latency: Latency | None = LATENCY, size: float = 23.456) -> Report:
    """20 attacks, all caught, and 20 benign rows, one of them flagged."""
    labels = np.repeat([1, 0], 20)
    families = ("A|B",) * 20 + ("BENIGN",) * 20
    rows = Rows(tuple("text" for _ in labels), labels, families, families, tuple(map(str, range(40))), ("s",) * 40)
    answers = Predictions(np.array([0.9] * 21 + [0.1] * 19), ("A|B",) * 21 + ("BENIGN",) * 19, families)
    return accuracy_report(
        "student|int8",
        folder,
        rows,
        answers,
        Evaluation(),
        split="test",
        synthetic=synthetic,
        provenance=provenance({"name": "x"}, 13, {"test": "f1f2f3"}),
        latency=latency,
        resources=Resources(size, 97.2, 99.0),
    )


def printed(width: int = 160) -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, width=width), stream


def test_json_keeps_its_keys(tmp_path: Path) -> None:
    content = json.loads(reports.to_json(made(tmp_path)))
    assert set(content) >= {
        "schema_version", "model_id", "timestamp", "hardware", "latency", "accuracy", "resources", "meets_targets",
        "split", "rows", "synthetic", "targets", "per_family", "per_length_bucket", "provenance",
    }  # fmt: skip
    assert set(content["hardware"]) >= {"cpu", "cores", "memory_gb", "os"}
    assert set(content["latency"]) >= {"mean_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "max_ms", "std_ms"}
    assert set(content["accuracy"]) >= {
        "binary_f1", "binary_precision", "binary_recall", "family_f1", "subfamily_f1", "false_positive_rate",
        "false_negative_rate", "confusion_matrix", "auroc", "average_precision", "intervals",
    }  # fmt: skip
    assert content["accuracy"]["confusion_matrix"] == {"tp": 20, "fp": 1, "tn": 19, "fn": 0}
    assert content["accuracy"]["binary_f1"] == 40 / 41  # not rounded
    assert content["resources"] == {"model_size_mb": 23.456, "memory_usage_mb": 97.2, "cpu_usage_percent": 99.0}
    assert content["meets_targets"] == {"latency": True, "size": True, "accuracy": True, "fpr": False}
    assert content["synthetic"] is None


@pytest.mark.parametrize("latency", [LATENCY, None])
@pytest.mark.parametrize("synthetic", [True, False])
def test_round_trip(tmp_path: Path, latency: Latency | None, synthetic: bool) -> None:
    report = made(tmp_path, latency=latency, synthetic=synthetic)
    paths = reports.write(report, tmp_path / "deep" / "folder")
    assert [path.name for path in paths] == ["report.json", "report.md"]
    assert reports.read(paths[0]) == reports.read(paths[0].parent) == report
    reports.write(report, tmp_path / "deep" / "folder")
    assert sorted(path.name for path in paths[0].parent.iterdir()) == ["report.json", "report.md"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be trusted as a report"),
        ('{"model_id": "x"}', "accuracy: Field required"),
        (None, "cannot read the report"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    with pytest.raises(UserError, match=message):
        reports.read(tmp_path)


def test_an_edited_report_is_refused(tmp_path: Path) -> None:
    content = json.loads(reports.to_json(made(tmp_path)))
    content["accuracy"]["false_positive_rate"] = 0.005
    content["meets_targets"]["fpr"] = True
    (tmp_path / "report.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"false_positive_rate is 0\.005, but the counts give 0\.05"):
        reports.read(tmp_path)


def test_markdown_puts_the_verdict_first_and_the_stamp_above(tmp_path: Path) -> None:
    report = made(tmp_path, synthetic=True)
    page = reports.to_markdown(report)
    order = [page.index(part) for part in (SYNTHETIC, "## Verdict", "## Accuracy", "## Latency", "## Hardware")]
    assert order == sorted(order)
    assert "| latency, P95 ms | 2.50 | < 3 | met |" in page
    assert "| size, MB | 23.5 | <= 50 | met |" in page
    assert "| accuracy, F1 | 0.9756 | > 0.95 | met |" in page
    assert "| FPR | 0.0500 | < 0.01 | missed |" in page
    assert "| false-positive rate | 0.0500 | 0.0089 to 0.2361 |" in page
    assert "| A\\|B | 20 | 1.0000 |" in page
    for part in (report.provenance["config_hash"], "f1f2f3", " ".join(report.hardware.cpu_flags), "| Seed | 13 |"):
        assert part in page
    assert SYNTHETIC not in reports.to_markdown(made(tmp_path))


def test_every_row_of_every_table_has_its_columns(tmp_path: Path) -> None:
    for block in reports.to_markdown(made(tmp_path)).split("\n\n"):
        if block.startswith("|"):
            assert len({line.replace("\\|", "").count("|") for line in block.strip().splitlines()}) == 1


def test_what_was_not_measured_is_said(tmp_path: Path) -> None:
    page = reports.to_markdown(made(tmp_path, latency=None))
    assert "| latency, P95 ms | not measured | < 3 | not measured |" in page


def test_rounding_never_shows_a_value_on_its_limit(tmp_path: Path) -> None:
    report = made(tmp_path, latency=replace(LATENCY, p95_ms=2.9996), size=50.04)
    rows = verdict_rows(report)
    assert rows[0][1:] == ("2.9996", "< 3", "met")
    assert rows[1][1:] == ("50.04", "<= 50", "missed")


def test_digits() -> None:
    assert [amount(value) for value in (0.1234, 1.234, 12.34, 123.4, None)] == [
        "0.123", "1.23", "12.3", "123", "not measured",
    ]  # fmt: skip


def test_cells_stay_in_their_cell() -> None:
    assert markdown_table(("a",), [("x|y\nz",)]).splitlines() == ["| a |", "| --- |", "| x\\|y z |"]


def test_comparison(tmp_path: Path) -> None:
    both = {"int8": made(tmp_path), "step|1": made(tmp_path, latency=None, size=80.0)}
    table = reports.comparison(both)
    assert table.splitlines()[0] == "|  | int8 | step\\|1 |"
    assert "| judged on | test, 40 rows | test, 40 rows |" in table
    assert "| P95, ms | 2.50 | not measured |" in table
    assert "| target: size | met | missed |" in table
    names = [line.split(" | ")[0].strip("| ") for line in table.splitlines()[2:]]
    assert names == [
        "judged on", "runs as", "F1", "precision", "recall", "FPR", "family F1", "sub-family F1", "P50, ms", "P95, ms",
        "P99, ms", "size, MB", "memory, MB", "target: latency", "target: size", "target: accuracy", "target: FPR",
    ]  # fmt: skip
    assert SYNTHETIC not in table
    stamped = reports.comparison({**both, "toy": made(tmp_path, synthetic=True)})
    assert stamped.startswith(f"> **{SYNTHETIC} (toy)**\n\n|")


def test_printing_shows_the_same(tmp_path: Path) -> None:
    console, stream = printed()
    reports.print_comparison({"[red]int8": made(tmp_path, synthetic=True)}, console)
    shown = stream.getvalue()
    assert SYNTHETIC in shown
    assert "[red]int8" in shown  # a name is not markup
    assert "0.9756" in shown
    console, stream = printed()
    reports.print_verdict(made(tmp_path), console)
    assert "missed" in stream.getvalue()
