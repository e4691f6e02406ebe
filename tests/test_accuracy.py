"""eval.accuracy: the figures of a small set by hand, what a set cannot say, and sources left out one by one."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as reference

from core.errors import UserError
from core.rows import Rows
from eval.accuracy import accuracy, decisions, sensitivity
from eval.figures import figures, resampled
from eval.kept import Answers
from eval.metrics import bootstrap, reflected_interval, wilson
from eval.schema import Accuracy, Intervals

NAMES = tuple(Intervals.model_fields)
MIXED = ("binary_f1", "binary_precision", "family_f1", "subfamily_f1", "auroc", "average_precision")
MIXED += ("recall_at_1_percent_fpr",)
COUNTED = ("binary_precision", "binary_recall", "false_positive_rate", "false_negative_rate")


def make_rows(labels: list[int], sources: list[str] | None = None) -> Rows:
    """Attacks are family PI or JB in turn, each with a sub-family; every row is its own group."""
    families = tuple(("PI" if i % 2 else "JB") if label else "BENIGN" for i, label in enumerate(labels))
    subfamilies = tuple({"PI": "override", "JB": "persona", "BENIGN": "benign"}[family] for family in families)
    names = tuple(str(i) for i in range(len(labels)))
    return Rows(names, np.array(labels, np.int64), families, subfamilies, names, tuple(sources or ["one"] * len(names)))


def answer(rows: Rows, probability: list[float] | np.ndarray) -> Answers:
    """The right family where the decision is attack, benign elsewhere."""
    scores = np.asarray(probability, dtype=np.float64)
    family = tuple(
        (true if true != "BENIGN" else "PI") if p >= 0.5 else "BENIGN"
        for true, p in zip(rows.families, scores, strict=True)
    )
    sub = tuple(
        (true if true != "benign" else "override") if p >= 0.5 else "benign"
        for true, p in zip(rows.subfamilies, scores, strict=True)
    )
    return Answers(scores, family, sub, scores, scores)


@pytest.fixture
def large() -> tuple[Rows, Answers]:
    """300 rows of three sources, one of attacks only."""
    generator = np.random.default_rng(3)
    labels = [int(i % 3 == 0) for i in range(300)]
    rows = make_rows(labels, [("x", "y", "z")[i % 3] if i % 7 else "w" for i in range(300)])
    scores = np.clip(generator.normal(0.3 + 0.4 * np.array(labels), 0.15), 0, 1)
    return rows, answer(rows, scores)


def test_figures_by_hand() -> None:
    rows = make_rows([1, 1, 1, 0, 0])
    found = accuracy(rows, answer(rows, [0.9, 0.5, 0.2, 0.6, 0.0]), 50, 1)
    matrix = found.confusion_matrix
    assert (matrix.tp, matrix.fp, matrix.tn, matrix.fn) == (2, 1, 1, 1)  # 0.5 is an attack
    assert (found.binary_f1, found.binary_precision, found.binary_recall) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert (found.false_positive_rate, found.false_negative_rate) == pytest.approx((1 / 2, 1 / 3))
    assert found.family_f1 == pytest.approx((1 / 2 + 2 / 3 + 2 / 3) / 3)  # BENIGN, JB, PI
    assert found.subfamily_f1 is None  # none has 20 rows
    assert found.intervals.subfamily_f1 is None
    assert found.auroc == pytest.approx(4 / 6)
    assert found.average_precision == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert found.recall_at_1_percent_fpr == pytest.approx(1 / 3)
    assert found.brier_score == pytest.approx((0.01 + 0.25 + 0.64 + 0.36 + 0) / 5)
    assert found.intervals.binary_precision == wilson(2, 3)
    assert found.intervals.false_positive_rate == wilson(1, 2)
    assert [bar.rows for bar in found.reliability] == [1, 1, 0, 0, 1, 1, 0, 0, 1, 0]


def test_figures_equal_scikit_learn(large: tuple[Rows, Answers]) -> None:
    rows, said = large
    found = accuracy(rows, said, 100, 1)
    assert found.binary_f1 == pytest.approx(reference.f1_score(rows.labels, said.attack_probability >= 0.5))
    assert found.auroc == pytest.approx(reference.roc_auc_score(rows.labels, said.attack_probability))
    assert found.subfamily_f1 == pytest.approx(reference.f1_score(rows.subfamilies, said.subfamily, average="macro"))
    for name in NAMES:
        low, high = getattr(found.intervals, name)
        assert low <= getattr(found, name) <= high, name
        assert low < high, name


def test_every_resampled_figure_is_the_plain_one_where_all_rows_count_once(large: tuple[Rows, Answers]) -> None:
    rows, said = large
    plain, once = figures(rows, said), resampled(rows, said, np.ones((2, len(rows)), np.uint8))
    assert set(once) == set(plain) == set(NAMES)
    for name, values in once.items():
        assert values == pytest.approx(np.full(2, plain[name]), abs=1e-12), name


def test_intervals_come_from_resampled_clusters(large: tuple[Rows, Answers]) -> None:
    rows, said = large
    assert accuracy(rows, said, 200, 1) == accuracy(rows, said, 200, 1)
    assert accuracy(rows, said, 200, 1).intervals.auroc != accuracy(rows, said, 200, 2).intervals.auroc
    twenty = replace(rows, groups=tuple(f"{label}{i // 30}" for i, label in enumerate(rows.labels)))
    few, many = (accuracy(of, said, 200, 1).intervals for of in (twenty, rows))
    assert few.family_f1 != many.family_f1
    assert few.binary_recall == many.binary_recall  # Wilson's knows no clusters
    drawn = bootstrap.resample(rows.labels, rows.groups, 200, 1)
    expected = np.percentile(bootstrap.auroc(rows.labels, said.attack_probability, drawn), (2.5, 97.5))
    assert many.auroc == pytest.approx(tuple(expected))
    errors = bootstrap.expected_calibration_error(rows.labels, said.attack_probability, drawn)
    observed = accuracy(rows, said, 0, 1).expected_calibration_error
    assert many.expected_calibration_error == reflected_interval(errors, observed)


def test_without_resamples_only_counts_have_intervals(large: tuple[Rows, Answers]) -> None:
    rows, said = large
    none, some = accuracy(rows, said, 0, 1), accuracy(rows, said, 100, 1)
    for name in NAMES:
        assert getattr(none, name) == getattr(some, name)
        assert getattr(none.intervals, name) == (getattr(some.intervals, name) if name in COUNTED else None)


def test_no_mistake_in_a_small_set_proves_little() -> None:
    rows = make_rows([1] * 10 + [0] * 10)
    found = accuracy(rows, answer(rows, [0.9] * 10 + [0.1] * 10), 100, 1)
    assert found.binary_f1 == 1.0
    assert found.intervals.binary_f1 is not None
    assert found.intervals.binary_f1[0] < 0.9
    assert found.intervals.binary_f1[1] == 1.0


@pytest.mark.parametrize("repeats", [0, 50])
@pytest.mark.parametrize("label", [0, 1])
def test_one_class_leaves_open_what_it_cannot_say(label: int, repeats: int) -> None:
    rows = make_rows([label] * 30)
    found = accuracy(rows, answer(rows, np.linspace(0.1, 0.8, 30)), repeats, 1)
    impossible = {*MIXED, *(("false_positive_rate",) if label else ("binary_recall", "false_negative_rate"))}
    for name in NAMES:
        assert (getattr(found, name) is None) == (name in impossible), name
        if name in impossible:
            assert getattr(found.intervals, name) is None
    assert found.brier_score > 0
    assert (found.intervals.brier_score is None) == (repeats == 0)
    assert Accuracy.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(
    ("probability", "message"),
    [
        ([0.9, np.nan, np.nan], "2 of 3 attack probabilities are NaN"),
        ([0.9, np.inf, 0.1], "1 of 3 attack probabilities are NaN or infinite"),
        ([0.9, 1.5, 0.1], "0 to 1"),
        ([0.9, 0.1], r"\[2, 3\] texts do not go with 3 rows"),
    ],
)
def test_predictions_that_would_be_counted_wrongly_are_refused(probability: list[float], message: str) -> None:
    rows = make_rows([1, 0, 0])
    said = replace(answer(rows, [0.9, 0.1, 0.1]), attack_probability=np.array(probability))
    with pytest.raises(UserError, match=message):
        accuracy(rows, said, 10, 1)


def test_no_rows_are_refused() -> None:
    rows = make_rows([])
    with pytest.raises(UserError, match="no row"):
        accuracy(rows, answer(rows, []), 10, 1)


def test_a_nan_is_no_decision() -> None:
    rows = make_rows([1, 0])
    assert decisions(answer(rows, [0.5, 0.49])).tolist() == [True, False]
    with pytest.raises(UserError, match="1 of 2"):
        decisions(replace(answer(rows, [0.5, 0.49]), attack_probability=np.array([0.5, np.nan])))


def test_sensitivity_is_accuracy_without_each_source(large: tuple[Rows, Answers]) -> None:
    rows, said = large
    found = sensitivity(rows, said)
    assert set(found) == {"binary_f1", "binary_recall", "false_positive_rate", "auroc"}
    without: dict[str, Accuracy] = {}
    for source in "wxyz":
        kept = np.flatnonzero(np.array(rows.sources) != source)
        part = Answers(
            said.attack_probability[kept],
            tuple(said.family[i] for i in kept),
            tuple(said.subfamily[i] for i in kept),
            said.family_confidence[kept],
            said.subfamily_confidence[kept],
        )
        without[source] = accuracy(rows.take(kept), part, 0, 1)
    for name, moved in found.items():
        values = {source: getattr(one, name) for source, one in without.items()}
        assert moved.lowest == pytest.approx(min(values.values()))
        assert moved.highest == pytest.approx(max(values.values()))
        assert values[moved.lowest_without] == pytest.approx(moved.lowest)
        assert values[moved.highest_without] == pytest.approx(moved.highest)


def test_sources_that_a_figure_cannot_do_without_are_skipped() -> None:
    rows = make_rows([1, 1, 0, 0, 0], ["attacks", "attacks", "benign", "more", "more"])
    found = sensitivity(rows, answer(rows, [0.9, 0.3, 0.7, 0.2, 0.4]))
    # without "attacks" there is no attack: F1, recall and AUROC are left with the other two
    assert found["binary_f1"].lowest_without == "more"
    assert found["binary_f1"].highest_without == "benign"
    assert found["binary_recall"].lowest == found["binary_recall"].highest == 0.5
    assert found["false_positive_rate"].lowest_without == "benign"
    assert found["false_positive_rate"].highest_without == "more"
    assert found["false_positive_rate"].lowest == 0.0
    two = make_rows([1, 0], ["a", "b"])
    assert set(sensitivity(two, answer(two, [0.9, 0.1]))) == {"binary_recall", "false_positive_rate"}
    benign = make_rows([0, 0], ["a", "b"])
    assert set(sensitivity(benign, answer(benign, [0.9, 0.1]))) == {"false_positive_rate"}
    assert sensitivity(make_rows([1, 0]), answer(make_rows([1, 0]), [0.9, 0.1])) == {}
