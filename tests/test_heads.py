"""core.heads and eval.operating_point: ONNX equals numpy, and what is served at 0.5 is what was validated."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from core.errors import UserError
from core.head_graph import binary_graph, class_graph, without_zip_map, write_heads
from core.heads import HEADS, HeadSet, LinearHead, OperatingPoint, head_path
from core.schema import Heads
from eval.operating_point import fit

DIMENSION = 24
IDENTITY = OperatingPoint(0.0, 1.0)


def head(classes: int, seed: int = 0) -> LinearHead:
    generator = np.random.default_rng(seed)
    weight = generator.normal(0, 4, (classes, DIMENSION)).astype(np.float32)
    return LinearHead(weight, generator.normal(size=classes).astype(np.float32))


def unit_vectors(count: int, seed: int = 1) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, DIMENSION))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def run(model: onnx.ModelProto, embeddings: NDArray[np.float32]) -> tuple[NDArray[np.int64], list[dict[int, float]]]:
    """(label, probabilities) of the graph."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["label", "probabilities"]
    outputs: Any = session.run(None, {"embeddings": embeddings})
    return outputs[0], outputs[1]


def attack_probabilities(model: onnx.ModelProto, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.array([row[1] for row in run(model, embeddings)[1]])


def test_binary_graph_equals_numpy() -> None:
    binary, embeddings = head(1), unit_vectors(500)
    label, probabilities = run(binary_graph(binary, IDENTITY), embeddings)
    exact = embeddings.astype(np.float64) @ binary.weight.T.astype(np.float64) + binary.bias
    expected = 1 / (1 + np.exp(-exact[:, 0]))
    np.testing.assert_allclose([row[1] for row in probabilities], expected, atol=1e-6)
    np.testing.assert_allclose([row[0] for row in probabilities], 1 - expected, atol=1e-6)
    assert 0 < label.sum() < 500
    np.testing.assert_allclose(binary.logits(embeddings), exact, atol=1e-5)


@pytest.mark.parametrize("classes", [1, 2, 9])
def test_class_graph_equals_numpy(classes: int) -> None:
    family, embeddings = head(classes), unit_vectors(200)
    label, probabilities = run(class_graph(family), embeddings)
    powers = np.exp(family.logits(embeddings).astype(np.float64))
    expected = powers / powers.sum(1, keepdims=True)
    np.testing.assert_allclose([list(row.values()) for row in probabilities], expected, atol=1e-6)
    assert label.tolist() == expected.argmax(1).tolist()


@pytest.mark.parametrize(("classes", "binary", "keys"), [(1, True, [0, 1]), (3, False, [0, 1, 2]), (1, False, [0])])
def test_form_is_that_of_a_zip_map(classes: int, binary: bool, keys: list[int]) -> None:
    graph = binary_graph(head(classes), IDENTITY) if binary else class_graph(head(classes))
    label, probabilities = run(graph, unit_vectors(4))
    assert (label.dtype, label.shape) == (np.int64, (4,))
    assert isinstance(probabilities, list)
    for row in probabilities:
        assert isinstance(row, dict)
        assert list(row) == keys
        assert all(type(key) is int for key in row)
        assert sum(row.values()) == pytest.approx(1.0, abs=1e-6)


def test_extreme_logits_stay_finite() -> None:
    far = LinearHead(np.full((1, DIMENSION), 1e4, np.float32), np.zeros(1, np.float32))
    ends = np.array([[1.0] * DIMENSION, [-1.0] * DIMENSION], np.float32)
    assert attack_probabilities(binary_graph(far, IDENTITY), ends).tolist() == [1.0, 0.0]


def test_label_agrees_with_the_probability_everywhere() -> None:
    # One dimension read straight through: logits in every direction around 0, down to rounding.
    steps = np.concatenate([np.linspace(-1, 1, 2001), np.logspace(-12, 0, 200), -np.logspace(-12, 0, 200), [0.0]])
    embeddings = np.zeros((len(steps), DIMENSION), np.float32)
    embeddings[:, 0] = steps
    weight = np.eye(1, DIMENSION, dtype=np.float32)
    label, probabilities = run(binary_graph(LinearHead(weight, np.zeros(1, np.float32)), IDENTITY), embeddings)
    assert label.tolist() == [int(row[1] >= 0.5) for row in probabilities]
    assert label[-1] == 1


@pytest.mark.parametrize("logit", [-2.7, 0.0, 0.6, 3.1])
@pytest.mark.parametrize("scale", [0.3, 1.0, 7.9])
def test_decision_at_a_half_is_the_validated_decision(logit: float, scale: float) -> None:
    binary, embeddings, point = head(1), unit_vectors(20_000), OperatingPoint(logit, scale)
    raw = (embeddings.astype(np.float64) @ binary.weight.T.astype(np.float64) + binary.bias)[:, 0]
    served = attack_probabilities(binary_graph(binary, point), embeddings)
    clear = np.abs(raw - logit) > 3e-6  # float32 rounding of logits up to 15
    assert clear.sum() > 19_990
    assert ((served >= 0.5) == (raw >= logit))[clear].all()
    assert 0 < (served >= 0.5).sum() < 20_000
    np.testing.assert_allclose(served, 1 / (1 + np.exp(-scale * (raw - logit))), atol=1e-5)


def test_decision_exactly_at_the_threshold_and_one_step_beside_it() -> None:
    # Powers of two, so that float32 adds nothing of its own: the rule alone decides.
    weight = np.zeros((1, DIMENSION), np.float32)
    weight[0, 0] = 8.0
    binary = LinearHead(weight, np.array([-1.0], np.float32))
    point = OperatingPoint(logit=1.5, scale=4.0)
    embeddings = np.zeros((5, DIMENSION), np.float32)
    embeddings[:, 0] = 2.5 / 8 + np.array([-(2.0**-10), -(2.0**-20), 0.0, 2.0**-20, 2.0**-10])
    assert (binary.logits(embeddings)[:, 0] - 1.5).tolist() == [-(2.0**-7), -(2.0**-17), 0.0, 2.0**-17, 2.0**-7]
    graph = binary_graph(binary, point)
    label, probabilities = run(graph, embeddings)
    assert [row[1] >= 0.5 for row in probabilities] == [False, False, True, True, True]
    assert label.tolist() == [0, 0, 1, 1, 1]
    assert probabilities[2][1] == 0.5


def test_threshold_is_the_logit_as_a_probability() -> None:
    assert OperatingPoint(0.0, 1.0).threshold == 0.5
    assert OperatingPoint(math.log(3), 2.0).threshold == pytest.approx(0.75)


def validation(seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Overlapping logits of 2,000 benign and 500 attack rows."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.array([0, 1], np.int64), (2000, 500))
    return generator.normal(np.where(labels == 1, 3.0, -3.0), 2.0), labels


@pytest.mark.parametrize(("rate", "margin"), [(0.01, 0.2), (0.01, 0.0), (0.05, 0.5), (0.0004, 0.0)])
def test_operating_point_keeps_the_rate_and_is_the_lowest(rate: float, margin: float) -> None:
    logits, labels = validation()
    point = fit(logits, labels, Heads(max_false_positive_rate=rate, safety_margin=margin))
    limit = rate * (1 - margin)
    assert (logits[labels == 0] >= point.logit).mean() < limit
    lower = np.sort(logits[(labels == 0) & (logits < point.logit)])[-1]
    assert (logits[labels == 0] >= lower).mean() >= limit - 1e-9  # one more benign row would break it
    assert point.origin is not None
    assert point.origin.rule.startswith(f"highest recall with FPR < {rate:g}")
    assert point.origin.false_positive_rate < limit
    assert point.scale > 0


def test_served_probability_keeps_the_rate_on_its_rows() -> None:
    embeddings = unit_vectors(1500)
    binary = head(1)
    noise = np.random.default_rng(5).normal(0, 1, 1500)
    raw = binary.logits(embeddings)[:, 0]
    labels = (raw + noise > 1).astype(np.int64)
    point = fit(raw, labels, Heads())
    served = attack_probabilities(binary_graph(binary, point), embeddings)
    assert ((served >= 0.5) == (raw >= point.logit)).all()  # every row it was fitted on
    assert 0 <= (served[labels == 0] >= 0.5).mean() < 0.01
    assert (served[labels == 1] >= 0.5).any()


def test_slope_is_platts() -> None:
    # Labels drawn from sigmoid(2 z): the slope is found again.
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, 20_000)
    labels = (generator.random(20_000) < 1 / (1 + np.exp(-2 * logits))).astype(np.int64)
    assert fit(logits, labels, Heads()).scale == pytest.approx(2.0, rel=0.05)


def test_a_head_that_ranks_backwards_is_not_turned_round() -> None:
    logits, labels = validation()
    assert fit(-logits, labels, Heads()).scale == 1.0


@pytest.mark.parametrize(
    ("logits", "labels"), [([0.1, np.nan], [0, 1]), ([0.1, 0.2], [0, 0]), ([0.1, 0.2], [1, 1]), ([0.1, np.inf], [0, 1])]
)
def test_rows_that_allow_no_threshold_are_refused(logits: list[float], labels: list[int]) -> None:
    with pytest.raises(UserError):
        fit(np.array(logits), np.array(labels, np.int64), Heads())


def test_head_set_reads_what_was_written(tmp_path: Path) -> None:
    heads = {"binary": head(1), "family": head(2, 3), "subfamily": head(5, 4)}
    point = OperatingPoint(0.7, 1.5)
    write_heads(tmp_path, heads, point)
    assert {path.name for path in tmp_path.iterdir()} == {head_path(tmp_path, name).name for name in HEADS}
    read = HeadSet(tmp_path)
    assert read.dimension == DIMENSION
    embeddings = unit_vectors(50)
    scores = read(embeddings)
    assert (scores.attack.shape, scores.family.shape, scores.subfamily.shape) == ((50,), (50, 2), (50, 5))
    expected = 1 / (1 + np.exp(-1.5 * (heads["binary"].logits(embeddings)[:, 0] - 0.7)))
    np.testing.assert_allclose(scores.attack, expected, atol=1e-6)
    assert scores.subfamily.argmax(1).tolist() == heads["subfamily"].logits(embeddings).argmax(1).tolist()


def test_graphs_are_readable_by_old_runtimes() -> None:
    model = class_graph(head(3))
    assert model.ir_version == 8
    assert {opset.domain: opset.version for opset in model.opset_import} == {"": 17, "ai.onnx.ml": 3}


@pytest.mark.parametrize("name", ["binary", "family"])
def test_probabilities_come_as_an_array_where_asked(name: str, tmp_path: Path) -> None:
    heads = {"binary": head(1), "family": head(4, 3), "subfamily": head(5, 4)}
    point = OperatingPoint(0.7, 1.5)
    write_heads(tmp_path, heads, point, zip_map=False)
    plain = onnx.load(head_path(tmp_path, name))
    embeddings = unit_vectors(30)
    label, array = run(plain, embeddings)
    graph = binary_graph(heads[name], point) if name == "binary" else class_graph(heads[name])
    same_label, maps = run(graph, embeddings)
    assert isinstance(array, np.ndarray)
    assert (array.dtype, array.shape) == (np.float32, (30, 2 if name == "binary" else 4))
    assert array.tolist() == [list(row.values()) for row in maps]
    assert label.tolist() == same_label.tolist()
    assert "ZipMap" not in {node.op_type for node in plain.graph.node}
    assert graph.graph.node[-1].op_type == "ZipMap"  # the original keeps its own
    assert without_zip_map(graph) == plain == without_zip_map(plain)
    scores, again = HeadSet(tmp_path), tmp_path / "maps"
    again.mkdir()
    write_heads(again, heads, point)
    for left, right in zip(vars(scores(embeddings)).values(), vars(HeadSet(again)(embeddings)).values(), strict=True):
        np.testing.assert_array_equal(left, right)
