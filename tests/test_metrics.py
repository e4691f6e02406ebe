"""eval.metrics: examples that can be checked by hand, and equality with scikit-learn."""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

from core.errors import UserError
from eval.metrics import (
    Confusion,
    auroc,
    average_precision,
    confusion,
    expected_calibration_error,
    macro_f1,
    wilson,
)


@pytest.fixture(params=range(5))
def sample(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(request.param)
    labels = generator.integers(0, 2, 400)
    scores = np.clip(labels * 0.3 + generator.normal(0.35, 0.2, 400), 0, 1)
    return labels, np.round(scores, 1 + request.param)  # few decimals: many ties


def test_confusion_by_hand() -> None:
    matrix = confusion([1, 1, 1, 0, 0, 0, 0], [1, 1, 0, 1, 0, 0, 0])
    assert matrix == Confusion(tp=2, fp=1, tn=3, fn=1)
    assert (matrix.precision, matrix.recall, matrix.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert (matrix.false_positive_rate, matrix.false_negative_rate) == pytest.approx((1 / 4, 1 / 3))


def test_confusion_equals_scikit_learn(sample: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = sample
    said = scores >= 0.5
    matrix = confusion(labels, said)
    assert [matrix.tn, matrix.fp, matrix.fn, matrix.tp] == reference.confusion_matrix(labels, said).ravel().tolist()
    assert matrix.f1 == pytest.approx(reference.f1_score(labels, said), abs=1e-12)
    assert matrix.precision == pytest.approx(reference.precision_score(labels, said), abs=1e-12)
    assert matrix.recall == pytest.approx(reference.recall_score(labels, said), abs=1e-12)


def test_nothing_counted_is_zero() -> None:
    nothing = Confusion(0, 0, 0, 0)
    assert (nothing.precision, nothing.recall, nothing.f1, nothing.false_positive_rate) == (0.0, 0.0, 0.0, 0.0)
    assert nothing.false_negative_rate == 0.0


@pytest.mark.parametrize(
    ("labels", "decisions"), [([1, 0], [[1], [0]]), ([1, 0, 1], [1]), ([1, 2], [1, 0]), ([1, 0], [0.3, 0.9])]
)
def test_what_would_broadcast_or_is_no_decision_is_refused(labels: list, decisions: list) -> None:
    with pytest.raises(UserError):
        confusion(labels, decisions)


def test_macro_f1_by_hand_and_against_scikit_learn() -> None:
    true = ["a", "a", "b", "b", "b", "c"]
    said = ["a", "b", "b", "b", "d", "c"]
    # a: 2*1/(2*1+0+1), b: 2*2/(2*2+1+1), c: 1; d is not in `true` and is not averaged
    assert macro_f1(true, said) == pytest.approx((2 / 3 + 4 / 6 + 1) / 3)
    assert macro_f1(true, said) == pytest.approx(
        reference.f1_score(true, said, labels=["a", "b", "c"], average="macro", zero_division=0)
    )
    assert macro_f1(true, said, minimum_rows=3) == pytest.approx(4 / 6)
    assert macro_f1(true, said, minimum_rows=4) is None
    with pytest.raises(UserError):
        macro_f1(true, said[:1])


def test_ranking_by_hand() -> None:
    assert auroc([0, 1, 0, 1], [0.1, 0.4, 0.4, 0.9]) == pytest.approx(3.5 / 4)  # one tie among four pairs
    assert auroc([0, 1], [0.5, 0.5]) == 0.5
    assert average_precision([0, 1, 1], [0.5, 0.9, 0.1]) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_ranking_equals_scikit_learn(sample: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = sample
    assert auroc(labels, scores) == pytest.approx(reference.roc_auc_score(labels, scores), abs=1e-12)
    expected = reference.average_precision_score(labels, scores)
    assert average_precision(labels, scores) == pytest.approx(expected, abs=1e-12)


def test_calibration_error_equals_scikit_learns_curve(sample: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = sample
    happened, said = calibration_curve(labels, scores, n_bins=10)
    bins = np.searchsorted(np.linspace(0, 1, 11)[1:-1], scores)
    counts = np.bincount(bins, minlength=10)
    expected = np.sum(counts[counts > 0] * np.abs(happened - said)) / len(labels)
    assert expected_calibration_error(labels, scores) == pytest.approx(expected, abs=1e-12)


def test_calibration_error_by_hand() -> None:
    assert expected_calibration_error([0, 1], [0.0, 1.0]) == 0.0
    assert expected_calibration_error([0, 1, 0, 1], [0.9, 0.9, 0.9, 0.9]) == pytest.approx(0.4)
    with pytest.raises(UserError, match="0 to 1"):
        expected_calibration_error([0, 1], [0.0, 3.0])


@pytest.mark.parametrize("metric", [auroc, average_precision, expected_calibration_error])
@pytest.mark.parametrize("labels", [[0, 0], [1, 1]])
def test_one_class_is_refused(metric: Callable, labels: list) -> None:
    with pytest.raises(UserError, match="there is no"):
        metric(labels, [0.2, 0.7])


def test_wilson() -> None:
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe 1998, table I
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(0, 10)
    assert low == 0.0
    assert high == pytest.approx(0.2775, abs=5e-5)
    assert wilson(10, 10) == pytest.approx((1 - high, 1.0))
    with pytest.raises(UserError):
        wilson(3, 2)
