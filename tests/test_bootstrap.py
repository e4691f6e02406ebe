"""eval.metrics.bootstrap: equal to the plain figures and to scikit-learn's weights; what a resample may hold."""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn import metrics as reference

from core.errors import UserError
from eval import metrics
from eval.metrics import bootstrap, f1_interval, percentile_interval, reflected_interval, resamples

RANKED: dict[str, tuple[Callable, Callable]] = {
    "auroc": (bootstrap.auroc, metrics.auroc),
    "average precision": (bootstrap.average_precision, metrics.average_precision),
    "recall at 1 %": (bootstrap.recall_at_fpr, metrics.recall_at_fpr),
    "calibration": (bootstrap.expected_calibration_error, metrics.expected_calibration_error),
    "Brier": (bootstrap.brier_score, metrics.brier_score),
}
COUNTED: dict[str, tuple[Callable, str]] = {
    "f1": (bootstrap.f1, "f1"),
    "precision": (bootstrap.precision, "precision"),
    "recall": (bootstrap.recall, "recall"),
    "false positives": (bootstrap.false_positive_rate, "false_positive_rate"),
}


@pytest.fixture(params=[1, 2, 9])
def sample(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    """500 rows with scores of few decimals: many ties."""
    generator = np.random.default_rng(request.param)
    labels = generator.integers(0, 2, 500)
    scores = np.clip(labels * 0.3 + generator.normal(0.35, 0.2, 500), 0, 1)
    return labels, np.round(scores, request.param)


@pytest.fixture
def weights() -> np.ndarray:
    """Row 0 counts each row once, the others anything from never to four times."""
    drawn = np.random.default_rng(3).integers(0, 5, (7, 500)).astype(np.uint8)
    drawn[0] = 1
    return drawn


@pytest.mark.parametrize("name", RANKED)
def test_scores_weigh_as_if_rows_were_repeated(name: str, sample: tuple, weights: np.ndarray) -> None:
    labels, scores = sample
    resampled, plain = RANKED[name]
    expected = [plain(np.repeat(labels, row), np.repeat(scores, row)) for row in weights]
    assert expected[0] == plain(labels, scores)
    found = resampled(labels, scores, weights)
    assert found.dtype == np.float64
    assert found == pytest.approx(np.array(expected), abs=1e-12)


@pytest.mark.parametrize("name", COUNTED)
def test_decisions_weigh_as_if_rows_were_repeated(name: str, sample: tuple, weights: np.ndarray) -> None:
    labels, said = sample[0], sample[1] >= 0.5
    resampled, plain = COUNTED[name]
    expected = [getattr(metrics.confusion(np.repeat(labels, row), np.repeat(said, row)), plain) for row in weights]
    assert resampled(labels, said, weights) == pytest.approx(np.array(expected), abs=1e-12)


def test_weights_are_scikit_learns(sample: tuple, weights: np.ndarray) -> None:
    labels, scores = sample
    for resampled, theirs, values in (
        (bootstrap.f1, reference.f1_score, scores >= 0.5),
        (bootstrap.auroc, reference.roc_auc_score, scores),
        (bootstrap.average_precision, reference.average_precision_score, scores),
        (bootstrap.brier_score, reference.brier_score_loss, scores),
    ):
        expected = [theirs(labels, values, sample_weight=row) for row in weights]
        assert resampled(labels, values, weights) == pytest.approx(np.array(expected), abs=1e-12)


def test_macro_f1_weighs_as_if_rows_were_repeated() -> None:
    generator = np.random.default_rng(4)
    true = generator.choice(["a", "b", "c", "rare"], 300, p=[0.5, 0.3, 0.18, 0.02])
    said = np.where(generator.random(300) < 0.3, generator.choice(["a", "b", "never"], 300), true)
    weights = generator.integers(0, 4, (6, 300)).astype(np.uint8)
    weights[5] = 1
    everything = [metrics.macro_f1(np.repeat(true, row), np.repeat(said, row)) for row in weights]
    assert bootstrap.macro_f1(true, said, weights) == pytest.approx(np.array(everything))
    common = [
        reference.f1_score(true, said, labels=["a", "b", "c"], average="macro", sample_weight=row) for row in weights
    ]
    # "rare" never has 20 original rows, however often a resample repeats them
    assert bootstrap.macro_f1(true, said, weights * 9, 20) == pytest.approx(np.array(common))
    assert bootstrap.macro_f1(true, said, weights, 20)[5] == metrics.macro_f1(true, said, 20)
    with pytest.raises(UserError, match="1000 rows"):
        bootstrap.macro_f1(true, said, weights, 1000)


def test_a_class_that_a_resample_lacks_is_not_averaged() -> None:
    true, said = ["a", "a", "b", "b"], ["a", "b", "b", "b"]
    weights = np.array([[0, 0, 1, 1], [0, 1, 2, 0], [0, 0, 0, 0]], dtype=np.uint8)
    # only b, all right; then a: 0 of 1, b: 2 right and one too many; then nothing
    found = bootstrap.macro_f1(true, said, weights)
    assert found[:2] == pytest.approx([1.0, (0 + 4 / 5) / 2])
    assert np.isnan(found[2])


def test_by_hand() -> None:
    labels, scores = [1, 0, 1, 0], [0.9, 0.6, 0.6, 0.2]
    weights = np.array([[1, 1, 1, 1], [2, 0, 0, 1], [0, 3, 1, 0], [1, 0, 1, 0], [0, 1, 0, 1]], dtype=np.uint8)
    said = [score >= 0.5 for score in scores]
    assert bootstrap.f1(labels, said, weights) == pytest.approx([4 / 5, 1.0, 2 / 5, 1.0, 0.0])
    assert bootstrap.auroc(labels, scores, weights)[:3] == pytest.approx([3.5 / 4, 1.0, 0.5])
    assert bootstrap.average_precision(labels, scores, weights)[:3] == pytest.approx([(1 + 2 / 3) / 2, 1.0, 1 / 4])
    assert bootstrap.recall_at_fpr(labels, scores, weights, 0.5)[:3] == pytest.approx([1.0, 1.0, 0.0])
    for ranked in (bootstrap.auroc, bootstrap.average_precision, bootstrap.recall_at_fpr):
        assert np.isnan(ranked(labels, scores, weights)[4])  # no attack was drawn


def test_parts_of_the_resamples_make_no_difference(
    sample: tuple, weights: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels, scores = sample
    groups = [f"group {i % 90}" for i in range(500)]
    whole = [resampled(labels, scores, weights) for resampled, _ in RANKED.values()]
    drawn = bootstrap.resample(labels, groups, 30, 1)
    monkeypatch.setattr(resamples, "CELLS", 1100)  # two resamples at a time
    parts = [resampled(labels, scores, weights) for resampled, _ in RANKED.values()]
    assert np.array(parts) == pytest.approx(np.array(whole), abs=1e-12)
    assert (bootstrap.resample(labels, groups, 30, 1) == drawn).all()


def test_clusters_stay_together_and_each_kind_keeps_its_number() -> None:
    labels = np.array([1, 1, 1, 0, 0, 0, 0, 1, 0, 1, 0])
    groups = ["a1", "a1", "a2", "b1", "b2", "b3", "b3", "m1", "m1", "m2", "m2"]
    weights = bootstrap.resample(labels, groups, 500, seed=5)
    assert weights.shape == (500, 11)
    assert weights.dtype == np.uint8
    of = {group: weights[:, groups.index(group)].astype(int) for group in groups}
    for row, group in enumerate(groups):
        assert (weights[:, row] == of[group]).all()
    assert set(of["a1"] + of["a2"]) == {2}
    assert set(of["b1"] + of["b2"] + of["b3"]) == {3}
    assert set(of["m1"] + of["m2"]) == {2}
    for drawn in of.values():  # each a fair share of the draws, from never to all
        assert drawn.mean() == pytest.approx(1.0, abs=0.15)
        assert drawn.min() == 0
    assert of["b1"].max() == 3


def test_draws_are_those_of_independent_draws_with_replacement() -> None:
    weights = bootstrap.resample(np.zeros(40), [str(i) for i in range(40)], 4000, seed=2).astype(float)
    assert (weights.sum(axis=1) == 40).all()
    assert weights.var() == pytest.approx(1 - 1 / 40, abs=0.02)  # multinomial: n p (1 - p)
    assert np.cov(weights[:, 0], weights[:, 1])[0, 1] == pytest.approx(-1 / 40, abs=0.05)


def test_seeds_repeat_and_differ_and_the_order_of_rows_does_not_matter() -> None:
    labels, groups = np.array([1, 0] * 30), [f"g{i // 3}" for i in range(60)]
    first = bootstrap.resample(labels, groups, 20, seed=1)
    assert (first == bootstrap.resample(labels, groups, 20, seed=1)).all()
    assert (first != bootstrap.resample(labels, groups, 20, seed=2)).any()
    order = np.random.default_rng(0).permutation(60)
    assert (bootstrap.resample(labels[order], [groups[i] for i in order], 20, seed=1) == first[:, order]).all()


def test_one_class_and_no_resamples_will_do() -> None:
    assert (bootstrap.resample([1, 1], ["a", "a"], 3, 0) == 1).all()
    nothing = bootstrap.resample([1, 0, 0], ["a", "b", "c"], 0, 0)
    assert nothing.shape == (0, 3)
    assert bootstrap.auroc([1, 0, 0], [0.1, 0.2, 0.3], nothing).shape == (0,)
    assert bootstrap.brier_score([1, 1], [0.5, 1.0], np.ones((2, 2), np.uint8)) == pytest.approx([0.125, 0.125])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match="groups"):
        bootstrap.resample([1, 0], ["a"], 3, 0)
    for figure in (bootstrap.auroc, bootstrap.brier_score):  # more weights than rows would be cut silently
        with pytest.raises(UserError, match="resample these rows"):
            figure([1, 0], [0.9, 0.1], np.ones((3, 5), np.uint8))
    with pytest.raises(UserError, match="no benign"):
        bootstrap.auroc([1, 1], [0.9, 0.1], np.ones((3, 2), np.uint8))
    with pytest.raises(UserError, match="NaN"):
        bootstrap.expected_calibration_error([1, 0], [np.nan, 0.1], np.ones((3, 2), np.uint8))


def test_intervals_hold_the_truth_as_often_as_they_say_but_only_over_clusters() -> None:
    """Rows of a cluster are copies: to resample rows is to believe in evidence that is not there."""
    generator, trials = np.random.default_rng(6), 150
    truth = 2 * 0.8 / (2 * 0.8 + 0.2 + 0.1)  # recall 0.8, as many benign rows, 0.1 of them flagged
    attack = np.arange(300) % 2
    covered = {"clusters": 0, "rows": 0}
    for trial in range(trials):
        cluster = np.repeat(np.arange(300), generator.integers(1, 8, 300))
        labels, said = attack[cluster], (generator.random(300) < np.where(attack, 0.8, 0.1))[cluster]
        for unit, groups in (("clusters", cluster), ("rows", np.arange(len(cluster)))):
            drawn = bootstrap.resample(labels, [str(group) for group in groups], 200, trial)
            low, high = percentile_interval(bootstrap.f1(labels, said, drawn))
            covered[unit] += low <= truth <= high
    assert 0.9 <= covered["clusters"] / trials <= 0.99
    assert covered["rows"] / trials < 0.75


def test_a_calibration_error_is_mirrored_because_noise_only_adds_to_it() -> None:
    generator, trials = np.random.default_rng(7), 100
    truth = float(np.mean(np.abs(overstated(chances := np.linspace(0, 1, 100_001)) - chances)))
    covered = {"percentiles": 0, "mirrored": 0}
    for trial in range(trials):
        chance = generator.random(800)
        labels, said = generator.random(800) < chance, overstated(chance)
        drawn = bootstrap.resample(labels, [str(i) for i in range(800)], 200, trial)
        values = bootstrap.expected_calibration_error(labels, said, drawn)
        observed = metrics.expected_calibration_error(labels, said)
        for name, (low, high) in (
            ("percentiles", percentile_interval(values)),
            ("mirrored", reflected_interval(values, observed)),
        ):
            assert name == "percentiles" or low <= observed <= high
            covered[name] += low <= truth <= high
    assert covered["mirrored"] / trials > 0.85 > 0.75 > covered["percentiles"] / trials


def overstated(chance: np.ndarray) -> np.ndarray:
    """Further from one half than it is; no bin mixes chances that are over- and understated."""
    return np.clip(0.5 + 1.15 * (chance - 0.5), 0, 1)


def test_f1_of_few_mistakes_is_held_by_counts() -> None:
    assert f1_interval(10, 0)[1] == 1.0
    low = 2 * metrics.wilson(10, 10)[0] / (1 + metrics.wilson(10, 10)[0])
    assert f1_interval(10, 0)[0] == pytest.approx(low)
    assert f1_interval(0, 0) == (0.0, 1.0)
    matrix = metrics.Confusion(tp=30, fp=4, tn=60, fn=6)
    assert f1_interval(30, 10)[0] < matrix.f1 < f1_interval(30, 10)[1]
