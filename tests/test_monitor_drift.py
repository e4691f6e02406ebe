"""Drift: exact distances, the share of attacks that explains a shift, and indices by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ks_2samp

from core.errors import UserError
from eval.live.distribution import Distribution, Reference
from eval.live.drift import Compared, attack_share, distance, drift, mirrored, psi


def compared(values: np.ndarray, labels: np.ndarray, traffic: np.ndarray, what: str = "scores") -> Compared:
    stream = Distribution(values)
    reference = Reference.of(stream, values, labels)
    for part in np.array_split(traffic, 7):
        stream.add(part)
    return Compared(what, stream, reference)  # type: ignore[arg-type]


def test_counts_stand_between_and_at_the_reference_values() -> None:
    stream = Distribution([0.5, 0.2, 0.5])
    stream.add([0.1, 0.2, 0.3, 0.3, 0.5, 0.9, 0.9])
    assert stream.points.tolist() == [0.2, 0.5]
    assert stream.counts.tolist() == [1, 1, 2, 1, 2]
    assert [stream.at(cell) for cell in range(5)] == [0.2, 0.2, 0.5, 0.5, 0.5]
    with pytest.raises(UserError, match="finite reference values"):
        Distribution([math.nan])


@pytest.mark.parametrize("decimals", [1, 2, 8])
def test_the_distance_is_that_of_scipy_ties_or_not(decimals: int) -> None:
    generator = np.random.default_rng(decimals)
    values = np.round(generator.beta(2, 5, 300), decimals)
    traffic = np.round(generator.beta(2, 4, 5000), decimals)
    one = compared(values, np.arange(300) % 2, traffic)
    found, cell = distance(one.stream.counts, one.reference.shares(0.5))
    exact = ks_2samp(values, traffic, method="asymp")
    assert found == pytest.approx(exact.statistic, abs=1e-12)
    assert one.stream.at(cell) == pytest.approx(exact.statistic_location, abs=0.02)


def test_the_index_by_hand() -> None:
    """Twenty reference values, two a bin; the traffic holds none of the upper half and twice the lower half."""
    values = np.arange(20.0)
    one = compared(values, np.arange(20) % 2, np.repeat(np.arange(10.0), 100))
    added = 0.5 / 20  # to each of twelve bins, of both
    gained = 5 * (0.2 - 0.1) / (1 + 12 * added) * math.log((0.2 + added) / (0.1 + added))
    expected = gained + 5 * (0.0 - 0.1) / (1 + 12 * added) * math.log(added / (0.1 + added))
    assert psi(one.stream.counts, one.reference.shares(0.5), 20) == pytest.approx(expected, rel=1e-9)
    same = compared(values, np.arange(20) % 2, values)
    assert psi(same.stream.counts, same.reference.shares(0.5), 20) == pytest.approx(0, abs=1e-12)


def test_a_value_beyond_the_last_and_a_heavy_one_break_nothing() -> None:
    one = compared(np.array([0.0] * 90 + [1.0] * 10), np.arange(100) % 2, np.array([5.0, -1.0, 0.0]))
    # Shares 1/3, 1/3, 0, 1/3 against 0, 0.9, 0.1, 0, each with a sixth added: 0.2197 + 0.2576 + 0.0282 + 0.2197
    assert psi(one.stream.counts, one.reference.shares(0.5), 100) == pytest.approx(0.7252, abs=2e-4)
    # Below 0, where the rows have nothing, and above 1, where they have all.
    assert distance(one.stream.counts, one.reference.shares(0.5))[0] == pytest.approx(1 / 3)


def test_more_attacks_are_no_drift_and_other_benign_texts_are() -> None:
    """The evaluation is half attacks; the traffic is 5 % attacks, first of the same kinds, then of longer texts."""
    generator = np.random.default_rng(8)
    labels = np.repeat([1, 0], 1500)
    scores = np.where(labels == 1, generator.beta(8, 2, 3000), generator.beta(1, 9, 3000))
    lengths = np.where(labels == 1, generator.normal(300, 50, 3000), generator.normal(100, 20, 3000))
    attacks = generator.random(20_000) < 0.05
    live = np.where(attacks, generator.beta(8, 2, 20_000), generator.beta(1, 9, 20_000))
    same = np.where(attacks, generator.normal(300, 50, 20_000), generator.normal(100, 20, 20_000))
    longer = np.where(attacks, generator.normal(300, 50, 20_000), generator.normal(160, 20, 20_000))

    share, (of_scores, of_lengths) = drift(compared(scores, labels, live), compared(lengths, labels, same, "lengths"))
    assert share == pytest.approx(0.05, abs=0.01)
    for one in (of_scores, of_lengths):
        assert one.psi_interval[0] <= one.psi <= one.psi_interval[1] < 0.05
        assert one.distance < 0.05 < one.distance_interval[1] + 0.05
        assert one.distance_unmixed > 0.4  # of the evaluation's rows as they are
    assert of_scores.p_value > 0.01

    _, (_, moved) = drift(compared(scores, labels, live), compared(lengths, labels, longer, "lengths"))
    assert moved.psi_interval[0] > 0.25
    assert moved.distance_interval[0] > 0.5
    assert moved.p_value < 1e-6
    assert 110 < moved.at < 150


def test_a_reference_of_one_class_stays_as_it_is() -> None:
    one = compared(np.linspace(0, 1, 50), np.zeros(50, dtype=np.int64), np.linspace(0.2, 0.9, 70))
    assert attack_share(one.stream.counts, one.reference) == 0
    share, (of_scores, _) = drift(one, one)
    assert share == 0
    assert of_scores.distance == of_scores.distance_unmixed


def test_an_interval_is_mirrored_and_holds_its_figure() -> None:
    assert mirrored(np.linspace(0.2, 0.4, 101), 0.15) == pytest.approx((0.0, 0.15), abs=1e-9)
    assert mirrored(np.linspace(0.2, 0.4, 101), 0.3) == pytest.approx((0.205, 0.395), abs=1e-9)
