"""eval.metrics.thresholds: by hand, against a search over every score, and what is refused."""

import math

import numpy as np
import pytest
from sklearn.metrics import f1_score

from core.errors import UserError
from core.schema import Heads
from eval.metrics import confusion
from eval.metrics.thresholds import threshold_at_best_f1, threshold_at_fpr, threshold_at_least_cost
from eval.operating_point import fit, rule


def test_threshold_by_hand() -> None:
    labels = [0, 0, 0, 0, 1, 1, 1]
    scores = [0.1, 0.2, 0.3, 0.8, 0.25, 0.5, 0.9]
    # limit 0.5 of 4 benign rows: strictly below means one false positive, so 0.3 must be refused and 0.8 may pass
    assert threshold_at_fpr(labels, scores, 0.5) == pytest.approx(0.4)
    # limit 0.25: strictly below one in four means none
    assert threshold_at_fpr(labels, scores, 0.25) == pytest.approx(0.85)
    # the margin takes 0.5 to 0.25
    assert threshold_at_fpr(labels, scores, 0.5, safety_margin=0.5) == pytest.approx(0.85)


def test_limit_is_not_moved_by_floating_point() -> None:
    labels = [0] * 1000 + [1]
    scores = [*(np.arange(1000) / 1000), 2.0]
    threshold = threshold_at_fpr(labels, scores, 0.01, 0.2)  # 0.8 % of 1000 is 8, so at most 7
    assert int(np.sum(np.array(scores[:1000]) >= threshold)) == 7


def test_threshold_is_the_lowest_that_holds_and_no_score_is_near(sample: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = sample
    for rate in (0.01, 0.05, 0.3):
        threshold = threshold_at_fpr(labels, scores, rate)
        assert confusion(labels, scores >= threshold).false_positive_rate < rate
        assert np.abs(scores - threshold).min() > 1e-7
        below = scores[scores < threshold].max()  # lowering it to the next score breaks the limit
        assert confusion(labels, scores >= below).false_positive_rate >= rate


def test_tied_benign_scores_are_refused_together() -> None:
    assert threshold_at_fpr([0, 0, 0, 1], [0.5, 0.5, 0.1, 0.9], 0.5) == pytest.approx(0.7)


@pytest.mark.parametrize("benign", [0.6, 1.0, 7.0, -3.0])
def test_threshold_that_catches_nothing_is_still_one(benign: float) -> None:
    threshold = threshold_at_fpr([0, 1], [benign, benign - 1], 0.01)
    assert math.isfinite(threshold)
    assert threshold > benign + 1e-3
    assert threshold < 1.0 or benign >= 1.0


def test_neighbouring_floats_have_no_middle() -> None:
    below, above = 0.5, np.nextafter(0.5, 1)
    assert threshold_at_fpr([0, 1], [below, above], 0.01) == above


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 0], [0.1, 0.2], "no attack"),
        ([1, 1], [0.1, 0.2], "no benign"),
        ([], [], "no attack"),
        ([0, 1], [0.1, math.nan], "NaN"),
        ([0, 1], [0.1, math.inf], "infinite"),
        ([0, 1], [0.1], "do not go with"),
    ],
)
def test_threshold_refuses(labels: list, scores: list, message: str) -> None:
    with pytest.raises(UserError, match=message):
        threshold_at_fpr(labels, scores, 0.01)


def every_threshold(scores: np.ndarray) -> list[float]:
    return [*np.unique(scores).tolist(), 2.0]


def test_best_f1_is_the_best_of_all(sample: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = sample
    chosen = threshold_at_best_f1(labels, scores)
    best = max(f1_score(labels, scores >= value) for value in every_threshold(scores))
    assert f1_score(labels, scores >= chosen) == pytest.approx(best)
    assert np.abs(scores - chosen).min() > 1e-7


@pytest.mark.parametrize(("false_positive", "false_negative"), [(1.0, 1.0), (20.0, 1.0), (1.0, 7.5)])
def test_cost_is_the_least_of_all(
    sample: tuple[np.ndarray, np.ndarray], false_positive: float, false_negative: float
) -> None:
    labels, scores = sample

    def cost(value: float) -> float:
        matrix = confusion(labels, scores >= value)
        return false_positive * matrix.fp + false_negative * matrix.fn

    chosen = threshold_at_least_cost(labels, scores, false_positive, false_negative)
    assert cost(chosen) == pytest.approx(min(cost(value) for value in every_threshold(scores)))


def test_dear_misses_flag_all_and_dear_alarms_flag_none() -> None:
    labels, scores = [1, 0, 1, 0], [-3.0, -1.0, 0.2, 4.0]
    assert threshold_at_least_cost(labels, scores, 1.0, 1000.0) < -3.0
    assert threshold_at_least_cost(labels, scores, 1000.0, 1.0) > 4.0


def test_the_rule_of_the_configuration_is_followed_and_written_down() -> None:
    labels = np.array([0] * 600 + [1] * 400)
    logits = np.random.default_rng(2).normal(labels * 2.0, 1.5)
    by_rule = {
        name: fit(logits, labels, Heads(threshold=name, false_positive_cost=5.0), "abc")
        for name in ("target_fpr", "best_f1", "cost")
    }
    assert len({point.logit for point in by_rule.values()}) == 3
    assert by_rule["best_f1"].logit == threshold_at_best_f1(labels, logits)
    assert by_rule["cost"].logit == threshold_at_least_cost(labels, logits, 5.0, 1.0)
    for name, point in by_rule.items():
        assert point.origin is not None
        assert point.origin.rule == rule(Heads(threshold=name, false_positive_cost=5.0))
        assert (point.origin.split, point.origin.fingerprint, point.origin.rows) == ("validation", "abc", 1000)
        assert point.origin.f1 == confusion(labels, logits >= point.logit).f1
    assert rule(Heads()) == "highest recall with FPR < 0.01 less a margin of 20 %"
