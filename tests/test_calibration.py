"""Calibration: numpy and ONNX agree to the bit, thresholds stand at 0.5, scikit-learn says the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from core.calibration import Curve, Piecewise, Temperature, from_arrays, no_lower, stepped, to_arrays
from core.head_graph import binary_graph, class_graph
from core.heads import LinearHead
from core.rows import Rows, Taxonomy
from core.schema import Heads
from distill.heads.calibration import calibrate_classes, curves, temperature
from eval.operating_point import fit

CLASSES = 3


def probabilities(model: onnx.ModelProto, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"embeddings": embeddings})[0]


def through(classes: int) -> LinearHead:
    """The head whose logits are its embeddings."""
    return LinearHead(np.eye(classes, dtype=np.float32), np.zeros(classes, np.float32))


def scored(rows: int = 3000, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Attack logits of two overlapping heaps, sure of themselves by far too much."""
    generator = np.random.default_rng(seed)
    labels = (generator.random(rows) < 0.3).astype(np.int64)
    return (6 * generator.normal(np.where(labels == 1, 1.0, -1.0), 1.0)).astype(np.float32), labels


def of_classes(rows: int = 3000, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits (rows, 3) three times too large, and targets drawn as they should be."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 1.5, (rows, CLASSES))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    target = (generator.random((rows, 1)) > shares.cumsum(1)).sum(1)
    return (3 * logits).astype(np.float32), target


def test_pieces_by_hand() -> None:
    # Two classes: up by 2 from (0, 0) to (1, 2), outside level; and a line of slope 3 through (5, 1).
    curve = Curve.through(np.array([0.0, 1.0]), np.array([0.0, 2.0]), 0.0)
    both = Piecewise.of([curve, Curve.through(np.array([5.0]), np.array([1.0]), 3.0)])
    scores = np.array([[-1, 4], [0, 5], [0.5, 6], [1, 5], [9, 5]], np.float32)
    assert both(scores).tolist() == [[0, -2], [0, 1], [1, 4], [2, 1], [2, 1]]


def test_points_that_float32_cannot_tell_apart_count_once() -> None:
    curve = Curve.through(np.array([1.0, 1.0 + 1e-12, 2.0]), np.array([0.0, 1.0, 3.0]), 0.0)
    assert (curve.points.tolist(), curve.after.tolist()) == ([1.0, 2.0], [1.0, 3.0])
    assert np.isfinite(curve.pieces()).all()


@pytest.mark.parametrize("calibration", [Temperature(1.25), curves(*of_classes(200))])
def test_calibrations_are_stored_whole(calibration: Temperature | Piecewise) -> None:
    back = from_arrays(to_arrays(calibration))
    assert type(back) is type(calibration)
    assert all(np.array_equal(value, vars(back)[name]) for name, value in vars(calibration).items())
    assert from_arrays({"weight": np.zeros(1, np.float32)}) is None


def test_no_lower_is_the_same_threshold_for_float32() -> None:
    for value in np.random.default_rng(0).normal(size=200):
        above = no_lower(value)
        assert float(above) >= value > float(np.nextafter(above, np.float32(-9)))
    assert no_lower(0.5) == 0.5


def test_a_step_parts_what_lies_below_the_threshold_from_it() -> None:
    # Level on both sides of the threshold, where a sigmoid alone would say 0.5 of both.
    curve = stepped([(-1.0, -2.0), (0.0, -1e-12), (1.0, 0.0), (2.0, 1e-12), (3.0, 4.0)], at=1.0)
    near = np.nextafter(np.float32(1), np.float32(-9))
    said = curve(np.array([[-5.0], [0.5], [near], [1.0], [1.5], [9.0]], np.float32))[:, 0]
    assert (np.diff(said) >= 0).all()
    assert (said < -0.0009).tolist() == [True, True, True, False, False, False]
    assert said[3] == 0


@pytest.mark.parametrize("rate", [0.01, 0.2])
def test_isotonic_binary_head_decides_as_validated_to_the_last_bit(rate: float) -> None:
    logits, labels = scored()
    point = fit(logits, labels, Heads(calibration="isotonic", max_false_positive_rate=rate))
    more = np.float32(point.logit) + np.linspace(-2, 2, 4001).astype(np.float32) ** 5
    edge = np.nextafter(np.float32(point.logit), np.array([-99, 99], np.float32))
    every = np.unique(np.concatenate([logits, more, edge, [np.float32(point.logit)]]))
    served = probabilities(binary_graph(through(1), point, zip_map=False), every[:, None])[:, 1]
    assert ((served >= 0.5) == (every >= point.logit)).all()
    np.testing.assert_allclose(served, point.served(every), rtol=0, atol=5e-7)  # the sigmoid in float32
    assert (np.diff(served) >= -5e-7).all()  # the order stays
    assert point.scale == 1.0
    assert (point.logit, 0.0) in point.knots


def test_isotonic_binary_probabilities_are_honest_up_to_the_shift() -> None:
    logits, labels = scored(20_000)
    point = fit(logits, labels, Heads(calibration="isotonic", threshold="best_f1"))
    others, truth = scored(20_000, seed=1)
    served = np.log(point.served(others) / (1 - point.served(others)))
    at = np.abs(logits - point.logit) < 0.5
    shifted = served + np.log(labels[at].mean() / (1 - labels[at].mean()))
    for low, high in ((-6, -3), (-3, 0), (0, 3), (3, 6)):
        inside = (others >= low) & (others < high)
        assert (1 / (1 + np.exp(-shifted[inside]))).mean() == pytest.approx(truth[inside].mean(), abs=0.04)


def test_the_three_binary_calibrations() -> None:
    logits, labels = scored()
    none, sigmoid, isotonic = (fit(logits, labels, Heads(calibration=name)) for name in ("none", "sigmoid", "isotonic"))
    assert (none.scale, none.knots, sigmoid.knots) == (1.0, (), ())
    assert 0.1 < sigmoid.scale < 0.5  # they are six times too sure by half
    assert none.logit == sigmoid.logit == pytest.approx(isotonic.logit, abs=1e-5)
    decisions = {tuple(point.served(logits) >= 0.5) for point in (none, sigmoid, isotonic)}
    assert len(decisions) == 1


def test_temperature_is_found_again_and_keeps_the_order() -> None:
    logits, target = of_classes(20_000)
    found = temperature(logits, target)
    assert found.slope == pytest.approx(1 / 3, rel=0.03)
    served = probabilities(class_graph(through(CLASSES), found, zip_map=False), logits)
    powers = np.exp(found.slope * logits.astype(np.float64))
    np.testing.assert_allclose(served, powers / powers.sum(1, keepdims=True), atol=1e-6)
    assert (served.argmax(1) == logits.argmax(1)).all()


def test_few_rows_make_no_class_certain() -> None:
    assert temperature(np.array([[9.0, 0.0]], np.float32), np.array([0])).slope < 1
    assert temperature(np.array([[9.0, 0.0]], np.float32), np.array([1])).slope < 0.05


@pytest.fixture(scope="module")
def models() -> tuple[GaussianNB, NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """A model that is too sure, rows to calibrate it on, and others."""
    generator = np.random.default_rng(3)
    target = generator.integers(0, CLASSES, 4000)
    rows = generator.normal(size=(4000, 1)) + generator.normal(size=(4000, 8)) + 0.7 * target[:, None]
    model = GaussianNB(var_smoothing=2.0).fit(rows[:1000], target[:1000])
    return model, rows[1000:3000], target[1000:3000], rows[3000:]


def test_isotonic_equals_scikit_learn(
    models: tuple[GaussianNB, NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]],
) -> None:
    model, rows, target, others = models
    reference = CalibratedClassifierCV(FrozenEstimator(model), method="isotonic").fit(rows, target)
    logits, unseen = (np.log(model.predict_proba(part)).astype(np.float32) for part in (rows, others))
    found = curves(logits, target)
    served = probabilities(class_graph(through(CLASSES), found, zip_map=False), unseen)
    apart = np.abs(served - reference.predict_proba(others))
    assert np.quantile(apart, 0.99) < 1e-5
    assert apart.max() < 0.05  # in pieces so steep that float32 counts


def test_temperature_equals_scikit_learn(
    models: tuple[GaussianNB, NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]],
) -> None:
    model, rows, target, others = models
    reference = CalibratedClassifierCV(FrozenEstimator(model), method="temperature").fit(rows, target)
    logits, unseen = (np.log(model.predict_proba(part)).astype(np.float32) for part in (rows, others))
    served = probabilities(class_graph(through(CLASSES), temperature(logits, target), zip_map=False), unseen)
    np.testing.assert_allclose(served, reference.predict_proba(others), atol=2e-3)


def test_classwise_curves_in_onnx_are_those_of_numpy() -> None:
    logits, target = of_classes(500)
    found = curves(logits, target)
    served = probabilities(class_graph(through(CLASSES), found, zip_map=False), logits)
    powers = np.exp(logits - logits.max(1, keepdims=True))
    mapped = found(powers / powers.sum(1, keepdims=True))
    np.testing.assert_allclose(served, mapped / mapped.sum(1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(served.sum(1), 1, atol=1e-6)


def test_a_class_with_few_rows_keeps_its_probabilities() -> None:
    logits, target = of_classes(500)
    rare = np.flatnonzero(target == 2)[9:]
    found = curves(np.delete(logits, rare, 0), np.delete(target, rare))  # nine rows of class 2 are left
    share = np.linspace(0, 1, 11, dtype=np.float32)[:, None].repeat(CLASSES, 1)
    np.testing.assert_allclose(found(share)[:, 2], share[:, 2], atol=2e-6)
    assert np.abs(found(share)[:, 0] - share[:, 0]).max() > 0.1


def rows_of(families: list[str]) -> Rows:
    names = tuple(families)
    labels = np.array([int(name != "BENIGN") for name in names])
    return Rows(tuple(map(str, range(len(names)))), labels, names, names, names, names)


def test_families_that_training_did_not_know_are_left_out() -> None:
    taxonomy = Taxonomy.of(rows_of(["A", "B", "BENIGN"]))
    heads = {name: through(2) for name in ("family", "subfamily")}
    embeddings = np.array([[2, 0], [0, 2], [0, 9], [0, 1], [5, 5]], np.float32)
    rows = rows_of(["A", "B", "BENIGN", "A", "new"])
    found = calibrate_classes(heads, embeddings, rows, taxonomy, Heads())
    expected = temperature(embeddings[[0, 1, 3]], np.array([0, 1, 0]))
    assert found == {"family": expected, "subfamily": expected}
    assert calibrate_classes(heads, embeddings, rows, taxonomy, Heads(calibration="none")) == {}
    assert calibrate_classes(heads, embeddings[4:], rows.take([4]), taxonomy, Heads()) == {}
    lone = replace(taxonomy, families=("A",))
    assert set(calibrate_classes(heads, embeddings, rows, lone, Heads())) == {"subfamily"}


def test_platt_is_the_reference_for_the_binary_slope() -> None:
    logits, labels = scored()
    reference = LogisticRegression().fit(logits[:, None], labels)
    assert fit(logits, labels, Heads()).scale == pytest.approx(float(reference.coef_[0, 0]))
