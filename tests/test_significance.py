"""eval.significance: by hand, against scipy, and by the procedures that the shortcuts stand for."""

from itertools import combinations
from math import comb

import numpy as np
import pytest
from scipy.stats import binomtest

from core.errors import UserError
from eval.metrics import bootstrap
from eval.significance import holm, mcnemar, paired_difference


def test_mcnemar_by_hand() -> None:
    assert mcnemar(1, 9) == pytest.approx(2 * (comb(10, 0) + comb(10, 1)) / 2**10)
    assert mcnemar(9, 1) == mcnemar(1, 9)
    assert mcnemar(5, 5) == 1.0
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(0, 6) == pytest.approx(2 / 64)
    with pytest.raises(UserError, match="-1"):
        mcnemar(-1, 3)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (3, 4), (12, 30), (700, 650)])
def test_mcnemar_equals_scipy(first: int, second: int) -> None:
    assert mcnemar(first, second) == pytest.approx(binomtest(first, first + second, 0.5).pvalue)


def test_paired_difference_by_hand() -> None:
    # differences -0.1, 0, 0.1 ... 3.8: one below and one at 0 of forty, so (1 + 2) / (1 + 40), twice
    second = np.linspace(0.0, 1.0, 40)
    found = paired_difference(second + np.arange(-1, 39) / 10, second, 1.85)
    assert found.value == 1.85
    assert found.interval == pytest.approx(tuple(np.percentile(np.arange(-1, 39) / 10, (2.5, 97.5))))
    assert found.p_value == pytest.approx(2 * 3 / 41)


def test_paired_difference_turns_with_its_models() -> None:
    generator = np.random.default_rng(1)
    first, second = generator.normal(0.1, 0.1, 999), generator.normal(0.0, 0.1, 999)
    one, other = paired_difference(first, second, 0.1), paired_difference(second, first, -0.1)
    assert one.p_value == other.p_value < 1
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]))
    assert paired_difference(first, second, -0.1).p_value == 1.0  # most resamples contradict it


def test_paired_difference_at_its_ends() -> None:
    same = np.full(99, 0.9)
    assert paired_difference(same, same, 0.0).p_value == 1.0
    assert paired_difference(same, same, 0.0).interval == (0.0, 0.0)
    assert paired_difference(same, same - 0.1, 0.1).p_value == pytest.approx(2 / 100)  # never 0
    gaps = paired_difference(np.append(same, np.nan), np.append(same - 0.1, 0.5), 0.1)
    assert gaps.p_value == pytest.approx(2 / 100)
    with pytest.raises(UserError, match="same resamples"):
        paired_difference(same, same[:5], 0.0)
    with pytest.raises(UserError, match="none of 0"):
        paired_difference([], [], 0.0)


def test_the_paired_bootstrap_rejects_as_often_as_it_says() -> None:
    """Two models of one quality differ significantly in about one of twenty sets; a better one is found."""
    generator, labels, trials = np.random.default_rng(2), np.arange(400) % 2, 120
    weights = bootstrap.resample(labels, [str(i) for i in range(400)], 200, 3)
    rejected = {"equal": 0, "better": 0}
    for _ in range(trials):
        hard = generator.random(400)  # both fail on the same texts, mostly
        first = labels ^ (hard + generator.normal(0, 0.05, 400) < 0.15)
        for kind, wrong in (("equal", 0.15), ("better", 0.05)):
            second = labels ^ (hard + generator.normal(0, 0.05, 400) < wrong)
            values = [bootstrap.f1(labels, said, weights) for said in (first, second)]
            observed = bootstrap.f1(labels, first, np.ones((1, 400), np.uint8)) - bootstrap.f1(
                labels, second, np.ones((1, 400), np.uint8)
            )
            rejected[kind] += paired_difference(*values, float(observed[0])).p_value <= 0.05
    assert rejected["equal"] / trials < 0.12
    assert rejected["better"] / trials > 0.95


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.9, 0.8]) == (1.0, 1.0)
    assert holm([0.2]) == (0.2,)
    assert holm([]) == ()
    with pytest.raises(UserError, match="0 to 1"):
        holm([0.5, 1.5])
    with pytest.raises(UserError, match="0 to 1"):
        holm([float("nan")])


def test_holm_is_the_closed_test_of_bonferroni() -> None:
    raw = np.random.default_rng(4).random(6) ** 3
    subsets = [chosen for size in range(1, 7) for chosen in combinations(range(6), size)]
    expected = [
        max(min(1.0, len(chosen) * min(raw[list(chosen)])) for chosen in subsets if index in chosen)
        for index in range(6)
    ]
    assert holm(raw.tolist()) == pytest.approx(expected)
