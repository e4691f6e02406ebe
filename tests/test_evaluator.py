"""eval.evaluator, eval.judge and eval.schema: counted by hand on a classifier that is a table of answers."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from sklearn.metrics import f1_score

from core.errors import UserError
from core.pipeline import STAGES, untimed
from core.rows import Rows
from core.schema import Evaluation
from eval import evaluator
from eval.evaluator import Outcome, evaluate
from eval.judge import Measured, judge
from eval.kept import Answers, Kept
from eval.schema import SYNTHETIC, Overlap, Report, Resources

ROWS = Rows(
    texts=("a" * 64, "b" * 65, "c" * 5000, "d", "e" * 256, "f" * 1024),
    labels=np.array([1, 1, 1, 0, 0, 0]),
    families=("INJ", "INJ", "JB", "BENIGN", "BENIGN", "BENIGN"),
    subfamilies=("direct", "hidden", "role", "benign", "benign", "benign"),
    groups=tuple("123456"),
    sources=("mixed", "mixed", "attacks", "mixed", "mixed", "benign"),
)
ANSWERS = Answers(
    attack_probability=np.array([0.9, 0.5, 0.2, 0.1, 0.4999, 0.7]),
    family=("INJ", "JB", "BENIGN", "BENIGN", "BENIGN", "INJ"),
    subfamily=("direct", "hidden", "benign", "benign", "benign", "direct"),
    family_confidence=np.ones(6),
    subfamily_confidence=np.ones(6),
)
USED = Resources(model_size_mb=3.0, bytes_by_group={"encoder": 3_000_000}, memory_usage_mb=90.0)
QUICK = Evaluation(
    split="test", latency_calls=1000, warmup_calls=7, threads=2, grid_seconds=0, throughput_seconds=0,
    bootstrap_repeats=100,
)  # fmt: skip
ORIGIN = {
    "rule": "highest F1", "split": "validation", "fingerprint": "abc", "rows": 9, "attacks": 4, "f1": 0.5,
    "recall": 0.5, "false_positive_rate": 0.1,
}  # fmt: skip


class Table:
    """A classifier whose answers are written down."""

    model_id = "table"
    precision = "table"
    described: Mapping[str, Any] = {"operating_point": {"threshold": 0.3, "logit": -0.8, "origin": ORIGIN}}

    def __init__(self, folder: Path, answers: Answers) -> None:
        self.folder, self.answers, self.calls, self.threads = folder, answers, 0, 0
        self.encoder = self

    def classify(self, texts: Sequence[str], batch_size: int = 32) -> Answers:
        return self.answers

    def __call__(self, text: str, lap: Callable[[str], None] = untimed) -> str:
        self.calls += 1
        for stage in STAGES:
            lap(stage)
        return text

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        return [[0] * len(text.split()) for text in texts]

    def embed(self, tokens: Sequence[Sequence[int]], width: int | None = None) -> NDArray[np.float32]:
        return np.zeros((len(tokens), 2), np.float32)

    def use_threads(self, threads: int) -> None:
        self.threads = threads


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    (tmp_path / "model.onnx").write_bytes(b"x" * 3_000_000)
    monkeypatch.setattr(evaluator.resources, "measure", lambda folder, texts, threads: USED)
    return Table(tmp_path, ANSWERS)


def outcome(table: Table, evaluation: Evaluation = QUICK, **more: Any) -> Outcome:
    return evaluate(table, ROWS, evaluation, synthetic=True, provenance={"seed": 3}, seed=3, **more)


def test_counted_by_hand(table: Table) -> None:
    report = outcome(table).report
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
    families = {
        name: (of.counts.tp, of.counts.fp, of.counts.tn, of.counts.fn) for name, of in report.per_family.items()
    }
    assert families == {"INJ": (2, 0, 0, 0), "JB": (0, 0, 0, 1), "BENIGN": (0, 1, 2, 0)}
    lengths = {
        name: (of.counts.tp, of.counts.fp, of.counts.tn, of.counts.fn) for name, of in report.per_length_bucket.items()
    }
    assert lengths == {
        "0-64": (1, 0, 1, 0), "65-256": (1, 0, 1, 0), "257-1024": (0, 1, 0, 0),
        "1025-4096": (0, 0, 0, 0), "4097+": (0, 0, 0, 1),
    }  # fmt: skip
    assert set(report.per_source) == {"mixed", "attacks", "benign"}
    assert {name: of.counts.rows for name, of in report.per_script.items()} == {"Latin": 6}
    assert report.sensitivity["binary_f1"].highest_without == "attacks"  # its one row is the one that is missed


def test_report_says_what_was_measured(table: Table) -> None:
    shared = Overlap(
        training_rows=10, training_fingerprint="f", same_training_rows=False, exact=0, near=2, near_similarity=0.8,
        same_group=0,
    )  # fmt: skip
    report = outcome(table, overlap=shared).report
    assert (report.model_id, report.split, report.rows, report.synthetic) == ("table", "test", 6, SYNTHETIC)
    assert report.latency is not None
    assert (report.latency.calls, report.latency.texts, report.latency.threads) == (1000, 6, 2)
    assert table.calls >= 1007
    assert set(report.latency.stages) == set(STAGES)
    assert report.resources == USED
    assert report.targets == QUICK.targets
    assert report.meets_targets["size"] is True
    assert report.meets_targets["latency"] is True
    assert report.meets_targets["accuracy"] is None  # six texts decide nothing
    assert report.meets_targets["recall"] is False  # but two of three caught is surely below 0.97
    assert report.verdict == "missed"
    assert report.threshold is not None
    assert (report.threshold.value, report.threshold.rule, report.threshold.fingerprint) == (0.3, "highest F1", "abc")
    assert report.overlap == shared
    assert report.provenance == {"seed": 3}
    notes = "\n".join(report.notes)
    assert "there are 6 texts for 1,000 calls" in notes
    assert "2 of 6 texts have a near-duplicate" in notes
    assert "names other training rows" in notes
    assert "2 of 3 sources hold one label only" in notes


def test_grid_and_throughput_stand_beside_and_nothing_is_timed_when_nothing_is_asked(table: Table) -> None:
    more = Evaluation(**{**QUICK.model_dump(), "grid_seconds": 0.2, "throughput_seconds": 0.2})
    report = outcome(table, more).report
    assert report.grid is not None
    assert report.throughput is not None
    table.calls = 0
    silent = outcome(table, Evaluation(**{**more.model_dump(), "latency_calls": 0}))
    assert (silent.report.latency, silent.report.grid, silent.report.throughput) == (None, None, None)
    assert silent.kept.calls is None
    assert table.calls == 0
    assert silent.report.judgements["latency"].verdict == "not measured"


def test_measuring_writes_nothing(table: Table) -> None:
    outcome(table)
    assert [path.name for path in table.folder.iterdir()] == ["model.onnx"]


def test_what_is_kept_gives_the_same_report_again(table: Table) -> None:
    done = outcome(table)
    assert judge(done.kept, Measured.of(done.report), QUICK, 3) == done.report
    other = judge(
        done.kept, Measured.of(done.report), QUICK, 4
    )  # another seed: other bootstrap intervals, same figures
    assert other.accuracy.binary_f1 == done.report.accuracy.binary_f1
    assert other.accuracy.intervals.auroc != done.report.accuracy.intervals.auroc


@pytest.mark.parametrize(
    ("kept_rows", "note", "none"),
    [
        ([3, 4, 5], "no attack", ["binary_recall", "binary_f1", "binary_precision", "auroc", "family_f1"]),
        ([0, 1, 2], "no benign", ["false_positive_rate", "binary_f1", "binary_precision", "auroc", "family_f1"]),
    ],
)
def test_a_set_of_one_class_is_judged_by_what_it_can_say(
    table: Table, kept_rows: list[int], note: str, none: list[str]
) -> None:
    measured = Measured.of(outcome(table).report)
    part = Answers(
        ANSWERS.attack_probability[kept_rows],
        tuple(ANSWERS.family[i] for i in kept_rows),
        tuple(ANSWERS.subfamily[i] for i in kept_rows),
        np.ones(3),
        np.ones(3),
    )
    report = judge(Kept(ROWS.take(kept_rows), part), measured, QUICK, 3)
    assert any(note in sentence for sentence in report.notes)
    assert all(getattr(report.accuracy, name) is None for name in none)
    assert all(getattr(report.accuracy.intervals, name) is None for name in none)
    assert report.judgements["accuracy"].verdict == "not measured"
    assert report.meets_targets["accuracy"] is None


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
def test_predictions_that_do_not_fit_are_refused(table: Table, answers: Answers) -> None:
    table.answers = answers
    with pytest.raises(UserError):
        outcome(table)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("accuracy", "binary_f1"), 0.96, "binary_f1 is 0.96"),
        (("accuracy", "binary_f1"), None, "binary_f1 is None"),
        (("accuracy", "binary_precision"), 0.96, "binary_precision"),
        (("accuracy", "binary_recall"), 0.96, "binary_recall"),
        (("accuracy", "false_positive_rate"), 0.001, "false_positive_rate"),
        (("accuracy", "false_negative_rate"), 0.001, "false_negative_rate"),
        (("accuracy", "auroc"), float("nan"), "finite"),
        (("accuracy", "confusion_matrix", "tp"), 3, "the counts give"),
        (("accuracy", "intervals", "binary_recall"), (0.9, 1.0), r"intervals\.binary_recall"),
        (("accuracy", "intervals", "false_positive_rate"), None, r"intervals\.false_positive_rate"),
        (("rows",), 7, "rows is 7"),
        (("per_family", "INJ", "recall"), 0.5, "recall"),
        (("per_family", "INJ", "counts", "tp"), 3, "counts give"),
        (("per_source", "mixed", "false_positive_rate_interval"), (0.0, 0.1), "false-positive rate interval"),
        (("meets_targets", "fpr"), True, "meets_targets"),
        (("judgements", "fpr", "verdict"), "met", "meets_targets"),
        (("resources", "model_size_mb"), 51.0, "model_size_mb"),
        (("synthetic",), "fine", "synthetic"),
        (("schema_version",), 1, "schema_version"),
        (("surprise",), 1, "surprise"),
    ],
)
def test_figures_that_disagree_are_caught(table: Table, path: tuple[str, ...], value: object, message: str) -> None:
    content = outcome(table).report.model_dump(mode="json")
    Report.model_validate_json(json.dumps(content))
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValidationError, match=message):
        Report.model_validate(content)
