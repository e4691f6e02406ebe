"""eval.metrics: examples that can be checked by hand, and equality with scikit-learn."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

from core.errors import UserError
from eval.metrics import (
    Bar,
    Confusion,
    auroc,
    average_precision,
    benign_needed,
    brier_score,
    confusion,
    expected_calibration_error,
    macro_f1,
    percentile_interval,
    precision_recall_curve,
    quantile_interval,
    recall_at_fpr,
    reflected_interval,
    reliability,
    required_false_positives,
    roc_curve,
    wilson,
)


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


def test_curves_by_hand() -> None:
    labels, scores = [0, 1, 0, 1, 1], [0.1, 0.4, 0.4, 0.9, 0.2]
    fpr, tpr, thresholds = roc_curve(labels, scores)
    assert thresholds.tolist() == [np.inf, 0.9, 0.4, 0.2, 0.1]  # the tie is one point
    assert fpr.tolist() == [0, 0, 1 / 2, 1 / 2, 1]
    assert tpr.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1, 1])
    precision, recall, thresholds = precision_recall_curve(labels, scores)
    assert thresholds.tolist() == [0.1, 0.2, 0.4, 0.9]
    assert precision.tolist() == pytest.approx([3 / 5, 3 / 4, 2 / 3, 1, 1])
    assert recall.tolist() == pytest.approx([1, 1, 2 / 3, 1 / 3, 0])


def test_curves_equal_scikit_learns(sample: tuple[np.ndarray, np.ndarray]) -> None:
    for ours, theirs in (
        (roc_curve(*sample), reference.roc_curve(*sample, drop_intermediate=False)),
        (precision_recall_curve(*sample), reference.precision_recall_curve(*sample)),
    ):
        for own, other in zip(ours, theirs, strict=True):
            assert own == pytest.approx(other, abs=1e-12)


def test_recall_at_fpr_is_the_best_of_the_curve(sample: tuple[np.ndarray, np.ndarray]) -> None:
    fpr, tpr, _ = reference.roc_curve(*sample, drop_intermediate=False)
    for rate in (0.0, 0.01, 0.05, 0.3, 1.0):
        assert recall_at_fpr(*sample, rate) == pytest.approx(tpr[fpr <= rate].max())


def test_recall_at_fpr_by_hand() -> None:
    labels, scores = [1, 0, 1, 0, 1, 0, 0], [0.9, 0.8, 0.8, 0.7, 0.6, 0.5, 0.1]
    assert recall_at_fpr(labels, scores, 0.2) == pytest.approx(1 / 3)  # one of four benign rows would be too many
    assert recall_at_fpr(labels, scores, 0.25) == pytest.approx(2 / 3)  # exactly the rate is allowed
    assert recall_at_fpr([0, 1], [0.9, 0.1]) == 0.0
    # 29 of 100 are 29 %, though 0.29 * 100 is 28.999999999999996
    assert recall_at_fpr([0] * 100 + [1], [*([0.9] * 29), *([0.1] * 71), 0.5], 0.29) == 1.0


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


def test_reliability_equals_scikit_learns_curve(sample: tuple[np.ndarray, np.ndarray]) -> None:
    bars = reliability(*sample)
    happened, said = calibration_curve(*sample, n_bins=10)
    assert [bar.mean_probability for bar in bars if bar.rows] == pytest.approx(said.tolist())
    assert [bar.attack_share for bar in bars if bar.rows] == pytest.approx(happened.tolist())
    assert sum(bar.rows for bar in bars) == 400


def test_reliability_by_hand() -> None:
    assert reliability([1, 0, 1, 1, 0], [0.0, 0.1, 0.25, 0.5, 1.0], bins=4) == (
        Bar(0.0, 0.25, 3, pytest.approx(0.35 / 3), 2 / 3),  # an edge belongs to the bar below it
        Bar(0.25, 0.5, 1, 0.5, 1.0),
        Bar(0.5, 0.75, 0, None, None),
        Bar(0.75, 1.0, 1, 1.0, 0.0),
    )


def test_brier_score(sample: tuple[np.ndarray, np.ndarray]) -> None:
    assert brier_score([1, 0], [0.5, 0.0]) == pytest.approx(0.125)
    assert brier_score(*sample) == pytest.approx(reference.brier_score_loss(*sample), abs=1e-12)


@pytest.mark.parametrize("metric", [expected_calibration_error, brier_score, reliability])
def test_calibration_needs_no_second_class_but_probabilities(metric: Callable) -> None:
    metric([0, 0], [0.2, 0.0])
    metric([1, 1], [0.2, 1.0])
    for wrong, message in (([0.2, np.nan], "1 of 2 scores are NaN"), ([0.2, 1.2], "0 to 1"), ([0.2], "do not go")):
        with pytest.raises(UserError, match=message):
            metric([0, 0], wrong)
    with pytest.raises(UserError, match="no row"):
        metric([], [])


def test_calibration_error_of_one_class_by_hand() -> None:
    assert expected_calibration_error([0, 0, 0], [0.1, 0.3, 0.5]) == pytest.approx(0.3)


RANKING = [auroc, average_precision, recall_at_fpr, roc_curve, precision_recall_curve]


@pytest.mark.parametrize("metric", RANKING)
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


def test_how_many_false_positives_prove_a_rate() -> None:
    assert required_false_positives(3456, 0.01) == 23
    assert wilson(23, 3456)[1] < 0.01 <= wilson(24, 3456)[1]
    assert required_false_positives(250, 0.01) is None
    assert required_false_positives(0, 0.01) is None
    assert required_false_positives(10, 0.999) == 9
    for limit in (0.001, 0.01, 0.015, 0.04, 0.3, 0.9):
        needed = benign_needed(limit)
        assert required_false_positives(needed, limit) is not None
        assert required_false_positives(needed - 1, limit) is None
    assert benign_needed(0.01) == 381
    for nonsense in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(UserError, match="strictly between 0 and 1"):
            required_false_positives(100, nonsense)
        with pytest.raises(UserError, match="strictly between 0 and 1"):
            benign_needed(nonsense)


def test_percentile_interval() -> None:
    assert percentile_interval(np.arange(1001)) == (25.0, 975.0)
    assert percentile_interval([*range(1001), *([np.nan] * 500)]) == (25.0, 975.0)  # what cannot be said is left out
    with pytest.raises(UserError, match="none of 2 resamples"):
        percentile_interval([np.nan, np.nan])


def test_reflected_interval() -> None:
    values = np.linspace(0.2, 0.4, 1001)
    assert reflected_interval(values, 0.3) == pytest.approx((0.205, 0.395))
    assert reflected_interval(values, 0.25) == pytest.approx((0.105, 0.295))
    assert reflected_interval(values, 0.19) == pytest.approx((0.0, 0.19))  # never negative, and never without itself
    assert reflected_interval(values, 0.6) == pytest.approx((0.6, 0.995))


def test_quantile_interval_by_hand() -> None:
    # Ten draws: 2 to 8 of them lie below the median with 97.9 %, so the second and the ninth enclose it.
    assert quantile_interval(np.arange(10, 0, -1), 0.5) == (2.0, 9.0)
    # A thousand draws: scipy's 2.5 % and 97.5 % points of binomial(1000, 0.95) are 936 and 963.
    assert quantile_interval(np.arange(1, 1001), 0.95) == (936.0, 964.0)
    assert quantile_interval([3.0, 1.0, 2.0], 0.5) == (1.0, 3.0)  # too few to bound it: the lowest and the highest
    assert quantile_interval([3.0, 1.0, 2.0], 0.99)[1] == 3.0
    with pytest.raises(UserError, match="NaN"):
        quantile_interval([1.0, np.nan], 0.5)
    with pytest.raises(UserError, match="these 0"):
        quantile_interval([], 0.5)
    with pytest.raises(UserError, match="strictly between"):
        quantile_interval([1.0], 1.0)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.95])
def test_quantile_interval_covers_whatever_the_distribution(share: float) -> None:
    generator = np.random.default_rng(8)
    quantile = stats.lognorm(1.0).ppf(share)
    ends = np.array([quantile_interval(generator.lognormal(0, 1, 400), share) for _ in range(300)])
    assert 0.93 <= np.mean((ends[:, 0] <= quantile) & (quantile <= ends[:, 1])) <= 1.0
    # and no narrower pair of order statistics would do: one rank less on either side misses 2.5 %
    below = stats.binom(400, share)
    low, high = (int(end) for end in quantile_interval(np.arange(1, 401), share))
    assert below.cdf(low - 1) <= 0.025 < below.cdf(low)
    assert below.sf(high - 1) <= 0.025 < below.sf(high - 2)
