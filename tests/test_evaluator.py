"""eval.evaluator, eval.targets and eval.schema: counted by hand on a classifier that is a table of answers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.metrics import f1_score

from core.errors import UserError
from core.rows import Rows
from core.schema import Evaluation, Limits
from eval import evaluator
from eval.resources import Resources
from eval.schema import SYNTHETIC, Family, Report
from eval.targets import Verdict, verdict


@dataclass(frozen=True)
class Predictions:
    attack_probability: np.ndarray
    family: tuple[str, ...]
    subfamily: tuple[str, ...]


class Table:
    """A classifier whose answers are written down."""

    model_id = "table"
    precision = "table"

    def __init__(self, folder: Path, answers: Predictions) -> None:
        self.folder, self.answers, self.calls, self.threads = folder, answers, 0, 0

    def classify(self, texts: Sequence[str], batch_size: int = 32) -> Predictions:
        return self.answers

    def __call__(self, text: str) -> str:
        self.calls += 1
        return text

    def use_threads(self, n: int) -> None:
        self.threads = n


ROWS = Rows(
    texts=("a" * 64, "b" * 65, "c" * 5000, "d", "e" * 256, "f" * 1024),
    labels=np.array([1, 1, 1, 0, 0, 0]),
    families=("INJ", "INJ", "JB", "BENIGN", "BENIGN", "BENIGN"),
    subfamilies=("direct", "hidden", "role", "benign", "benign", "benign"),
    groups=tuple("123456"),
    sources=("s",) * 6,
)
ANSWERS = Predictions(
    attack_probability=np.array([0.9, 0.5, 0.2, 0.1, 0.4999, 0.7]),
    family=("INJ", "JB", "BENIGN", "BENIGN", "BENIGN", "INJ"),
    subfamily=("direct", "hidden", "benign", "benign", "benign", "direct"),
)
EVALUATION = Evaluation(latency_calls=1000, warmup_calls=7, threads=2)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    (tmp_path / "model.onnx").write_bytes(b"x" * 3_000_000)
    monkeypatch.setattr(
        evaluator, "measure_resources", lambda folder, texts, threads: Resources(3.0, 90.0, 100.0 * threads)
    )
    return Table(tmp_path, ANSWERS)


def judged(table: Table) -> Report:
    return evaluator.evaluate(table, ROWS, EVALUATION, split="test", synthetic=True, provenance={"seed": 3}, seed=3)


def test_counted_by_hand(table: Table) -> None:
    report = judged(table)
    right = report.accuracy
    matrix = right.confusion_matrix
    assert (matrix.tp, matrix.fp, matrix.tn, matrix.fn) == (2, 1, 2, 1)  # 0.5 itself is an attack
    assert right.binary_f1 == right.binary_precision == right.binary_recall == pytest.approx(2 / 3)
    assert right.false_positive_rate == right.false_negative_rate == pytest.approx(1 / 3)
    assert right.auroc == pytest.approx(6 / 9)
    # end to end: BENIGN 2*2/(4+1+1), INJ 2*1/(2+1+1), JB 0
    assert right.family_f1 == pytest.approx((4 / 6 + 2 / 4 + 0) / 3)
    assert right.family_f1 == pytest.approx(f1_score(ROWS.families, ANSWERS.family, average="macro"))
    assert right.subfamily_f1 is None  # no sub-family has 20 rows
    assert report.per_family == {
        "BENIGN": Family(rows=3, correct=2, recall=2 / 3),
        "INJ": Family(rows=2, correct=2, recall=1.0),
        "JB": Family(rows=1, correct=0, recall=0.0),
    }
    lengths = {name: (of.tp, of.fp, of.tn, of.fn) for name, of in report.per_length_bucket.items()}
    assert lengths == {
        "0-64": (1, 0, 1, 0), "65-256": (1, 0, 1, 0), "257-1024": (0, 1, 0, 0),
        "1025-4096": (0, 0, 0, 0), "4097+": (0, 0, 0, 1),
    }  # fmt: skip


def test_report_says_what_was_measured(table: Table) -> None:
    report = judged(table)
    assert (report.model_id, report.split, report.rows, report.synthetic) == ("table", "test", 6, SYNTHETIC)
    assert report.latency is not None
    assert (report.latency.calls, report.latency.texts, table.calls, table.threads) == (1000, 6, 1007, 2)
    assert report.resources == Resources(3.0, 90.0, 200.0)
    assert report.targets == EVALUATION.targets
    assert report.meets_targets == Verdict(latency=True, size=True, accuracy=False, fpr=False)
    assert report.provenance == {"seed": 3}


def test_measuring_writes_nothing(table: Table) -> None:
    judged(table)
    assert [path.name for path in table.folder.iterdir()] == ["model.onnx"]


def test_step_checkpoint_has_accuracy_and_size_only(table: Table) -> None:
    report = evaluator.accuracy_report(
        "step-10", table.folder, ROWS, ANSWERS, EVALUATION, split="validation", synthetic=False, provenance={}
    )
    assert report.latency is None
    assert report.synthetic is None
    assert report.resources == Resources(3.0, None, None)
    assert report.meets_targets == Verdict(latency=None, size=True, accuracy=False, fpr=False)
    assert not report.meets_targets.met
    assert report.accuracy == evaluator.accuracy(ROWS.labels, ROWS.families, ROWS.subfamilies, ANSWERS)


def test_subfamilies_with_twenty_rows_count() -> None:
    labels = [1] * 20 + [1] * 19 + [0]
    true = ["big"] * 20 + ["small"] * 19 + ["benign"]
    said = ["big"] * 15 + ["small"] * 24 + ["benign"]
    answers = Predictions(np.array([0.9] * 39 + [0.1]), ("F",) * 39 + ("B",), tuple(said))
    found = evaluator.accuracy(labels, ["F"] * 39 + ["B"], true, answers)
    assert found.subfamily_f1 == pytest.approx(2 * 15 / (2 * 15 + 0 + 5))
    assert found.family_f1 == 1.0


@pytest.mark.parametrize(
    "answers",
    [
        replace(ANSWERS, attack_probability=np.array([0.9, np.nan, 0.2, 0.1, 0.4, 0.7])),
        replace(ANSWERS, attack_probability=np.array([0.9])),
        replace(ANSWERS, attack_probability=ANSWERS.attack_probability[:, None]),
        replace(ANSWERS, family=ANSWERS.family[:1]),
        replace(ANSWERS, subfamily=ANSWERS.subfamily[:1]),
    ],
)
def test_predictions_that_do_not_fit_are_refused(answers: Predictions) -> None:
    with pytest.raises(UserError):
        evaluator.accuracy(ROWS.labels, ROWS.families, ROWS.subfamilies, answers)


def test_one_class_is_refused() -> None:
    benign = ROWS.take([3, 4, 5])
    answers = Predictions(np.array([0.1, 0.2, 0.3]), ("BENIGN",) * 3, ("benign",) * 3)
    with pytest.raises(UserError, match="no attack"):
        evaluator.accuracy(benign.labels, benign.families, benign.subfamilies, answers)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("accuracy", "binary_f1"), 0.96, "binary_f1 is 0.96"),
        (("accuracy", "binary_precision"), 0.96, "binary_precision"),
        (("accuracy", "binary_recall"), 0.96, "binary_recall"),
        (("accuracy", "false_positive_rate"), 0.001, "false_positive_rate"),
        (("accuracy", "false_negative_rate"), 0.001, "false_negative_rate"),
        (("accuracy", "auroc"), float("nan"), "finite"),
        (("accuracy", "confusion_matrix", "tp"), 3, "the counts give"),
        (("accuracy", "intervals", "recall"), (0.9, 1.0), "intervals.recall"),
        (("rows",), 7, "rows is 7"),
        (("per_family", "INJ", "recall"), 0.5, "recall"),
        (("per_family", "INJ", "rows"), 3, "counts give"),
        (("per_length_bucket", "0-64", "tn"), 2, "per_length_bucket tn"),
        (("meets_targets", "fpr"), True, "meets_targets"),
        (("resources", "model_size_mb"), 51.0, "meets_targets"),
        (("latency", "p95_ms"), 3.5, "meets_targets"),
        (("targets", "binary_f1"), 0.5, "meets_targets"),
        (("synthetic",), "fine", "synthetic"),
        (("surprise",), 1, "surprise"),
    ],
)
def test_figures_that_disagree_are_caught(table: Table, path: tuple[str, ...], value: object, message: str) -> None:
    content = judged(table).model_dump(mode="json")
    Report.model_validate(content)
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValidationError, match=message):
        Report.model_validate(content)


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ((0.96, 0.009, 2.9, 50.0), Verdict(True, True, True, True)),
        ((0.95, 0.01, 3.0, 50.000001), Verdict(False, False, False, False)),
        ((0.96, 0.0, None, 1.0), Verdict(None, True, True, True)),
        ((None, None, 1.0, None), Verdict(True, None, None, None)),
    ],
)
def test_verdict_rule(figures: tuple, expected: Verdict) -> None:
    assert verdict(Limits(), *figures) == expected
    assert expected.met == (expected == Verdict(True, True, True, True))
