"""distill.heads: every kind of head leaves as an ONNX graph that says what scikit-learn's predict_proba says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper
from scipy.special import expit, log_softmax, softmax
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType

from core.head_graph import class_graph, write_heads
from core.heads import GraphHead, HeadSet, LinearHead, OperatingPoint
from core.rows import Rows, Taxonomy
from core.schema import Heads
from distill.heads.fitting import Model, fit_heads, fit_model
from distill.heads.graphs import graph_head
from distill.heads.logistic import fit_logistic
from distill.heads.trees import no_higher, without_needless
from eval.operating_point import fit

DIMENSION = 12
KINDS = ("random_forest", "gradient_boosting", "mlp")
IDENTITY = OperatingPoint(0.0, 1.0)


def rows_of(classes: int, rows: int = 240, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Embeddings of length 1 in overlapping heaps, and their classes."""
    generator = np.random.default_rng(seed)
    target = np.arange(rows) % classes
    centres = np.random.default_rng(9).normal(size=(classes, DIMENSION))
    vectors = centres[target] + generator.normal(size=(rows, DIMENSION))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), target


def config(kind: str) -> Heads:
    return Heads.model_validate({"kind": kind, "trees": 7, "leaves": 6, "hidden_sizes": [16, 8], "epochs": 150})


@pytest.fixture(scope="module")
def fitted() -> Mapping[tuple[str, int], Model]:
    """A small model of each kind, by kind and number of classes."""
    return {
        (kind, classes): fit_model(*rows_of(classes), config(kind), depth=6, seed=3, balanced=True)
        for kind in KINDS
        for classes in (2, 4)
    }


@pytest.fixture(scope="module")
def unseen() -> NDArray[np.float32]:
    return rows_of(2, rows=500, seed=1)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_binary_graph_equals_scikit_learn(
    kind: str, fitted: Mapping[tuple[str, int], Model], unseen: NDArray[np.float32]
) -> None:
    model = fitted[kind, 2]
    head = graph_head(model, None)
    logits = head.logits(unseen)
    assert (head.dimension, head.classes, logits.dtype, logits.shape) == (DIMENSION, 1, np.float32, (500, 1))
    np.testing.assert_allclose(expit(logits[:, 0]), model.predict_proba(unseen)[:, 1], rtol=0, atol=1e-5)
    assert 0.1 < (logits > 0).mean() < 0.9
    alone = np.concatenate([head.logits(row[None]) for row in unseen[:10]])
    np.testing.assert_allclose(alone, logits[:10], atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [2, 4])
def test_class_graph_equals_scikit_learn(
    kind: str, classes: int, fitted: Mapping[tuple[str, int], Model], unseen: NDArray[np.float32]
) -> None:
    model = fitted[kind, classes]
    head = graph_head(model, classes)
    said = softmax(head.logits(unseen), axis=1)
    assert (head.classes, said.shape) == (classes, (500, classes))
    np.testing.assert_allclose(said, model.predict_proba(unseen), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("present", "classes"), [((0, 3, 4, 6), 7), ((1, 2), 3)])
def test_a_class_without_rows_keeps_its_place(
    kind: str, present: tuple[int, ...], classes: int, unseen: NDArray[np.float32]
) -> None:
    embeddings, place = rows_of(len(present))
    model = fit_model(embeddings, np.array(present)[place], config(kind), depth=6, seed=3, balanced=True)
    said = softmax(graph_head(model, classes).logits(unseen), axis=1)
    np.testing.assert_allclose(said[:, list(present)], model.predict_proba(unseen), rtol=0, atol=1e-5)
    assert np.delete(said, present, axis=1).max() < 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_embedding_gives_no_answer(kind: str, fitted: Mapping[tuple[str, int], Model]) -> None:
    embeddings = rows_of(4, rows=3)[0]
    embeddings[1, 5] = np.nan
    embeddings[2, 0] = np.inf
    logits = graph_head(fitted[kind, 4], 4).logits(embeddings)
    assert np.isnan(logits).tolist() == [[False] * 4, [True] * 4, [True] * 4]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("calibration", ["none", "sigmoid", "isotonic"])
def test_served_at_a_half_is_the_validated_threshold(
    kind: str, calibration: str, fitted: Mapping[tuple[str, int], Model], tmp_path: Path
) -> None:
    head = graph_head(fitted[kind, 2], None)
    embeddings, labels = rows_of(2, rows=600, seed=5)
    logits = head.logits(embeddings)[:, 0]
    point = fit(logits, labels, Heads.model_validate({"calibration": calibration, "max_false_positive_rate": 0.1}))
    families = graph_head(fitted[kind, 4], 4)
    write_heads(tmp_path, {"binary": head, "family": families, "subfamily": families}, point)
    scores = HeadSet(tmp_path)(embeddings)
    assert ((scores.attack >= 0.5) == (logits.astype(np.float64) >= point.logit)).all()
    assert 0 < (scores.attack[labels == 0] >= 0.5).mean() < 0.08
    np.testing.assert_allclose(scores.attack, point.served(logits), rtol=0, atol=1e-6)
    assert scores.family.shape == (600, 4)


def test_a_threshold_that_float32_rounds_down_lets_no_row_through(tmp_path: Path) -> None:
    head = GraphHead(_logits_are_embeddings().SerializeToString(), 1, 1)
    below = np.float32(0.7)
    above = np.nextafter(below, np.float32(9))
    point = OperatingPoint(float(below) + 0.25 * (float(above) - float(below)), 1e6)
    write_heads(tmp_path, {"binary": head, "family": head, "subfamily": head}, point)
    said = HeadSet(tmp_path)(np.array([[below], [above]])).attack
    assert (said >= 0.5).tolist() == [False, True]


def _logits_are_embeddings() -> onnx.ModelProto:
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", 1]) for name in ("embeddings", "logits")
    ]
    node = helper.make_node("Identity", ["embeddings"], ["logits"])
    return helper.make_model(helper.make_graph([node], "logits", ends[:1], ends[1:]))


def test_thresholds_of_boosting_send_no_embedding_astray() -> None:
    values = np.random.default_rng(0).normal(size=1000)
    rounded = no_higher(values)
    assert (rounded.astype(np.float64) <= values).all()
    assert (np.nextafter(rounded, np.float32(9)).astype(np.float64) > values).all()
    # Embeddings that stand on the thresholds themselves and one step beside them.
    embeddings, target = rows_of(2)
    model = fit_model(embeddings, target, config("gradient_boosting"), depth=6, seed=3, balanced=False)
    node = np.concatenate([tree.nodes for together in model._predictors for tree in together])
    probes = [
        np.nextafter(np.float32(split["num_threshold"]), np.float32(way))
        for split in node[node["is_leaf"] == 0]
        for way in (-9, split["num_threshold"], 9)
    ]
    grid = np.tile(np.array(probes, np.float32)[:, None], DIMENSION)
    said = graph_head(model, None).logits(grid)[:, 0]
    np.testing.assert_allclose(said, model.decision_function(grid), atol=1e-5)


def test_a_forest_loses_bytes_but_no_score(
    fitted: Mapping[tuple[str, int], Model], unseen: NDArray[np.float32]
) -> None:
    for classes in (2, 4):
        model = fitted["random_forest", classes]
        whole = convert_sklearn(
            model,
            initial_types=[("embeddings", FloatTensorType([None, DIMENSION]))],
            options={id(model): {"zipmap": False}},
            target_opset={"": 17, "ai.onnx.ml": 3},
        )
        node = next(node for node in whole.graph.node if node.op_type == "TreeEnsembleClassifier")
        lean = without_needless(node)
        assert lean.ByteSize() < 0.85 * node.ByteSize()
        assert {"nodes_hitrates", "nodes_missing_value_tracks_true"}.isdisjoint(part.name for part in lean.attribute)
        leaves, kept = (
            set(zip(*(helper.get_node_attr_value(part, f"class_{name}ids") for name in ("tree", "node")), strict=True))
            for part in (node, lean)
        )
        assert leaves == kept  # each still has a weight
        plain = LinearHead(np.zeros((1, DIMENSION), np.float32), np.zeros(1, np.float32))
        assert (graph_head(model, None) if classes == 2 else plain).dimension == DIMENSION
    np.testing.assert_allclose(
        softmax(graph_head(fitted["random_forest", 4], 4).logits(unseen), axis=1),
        fitted["random_forest", 4].predict_proba(unseen),
        atol=1e-6,
    )


def test_depths_and_trees_are_those_asked_for() -> None:
    embeddings, target = rows_of(2)
    forest = fit_model(embeddings, target, config("random_forest"), depth=2, seed=0, balanced=True)
    boosting = fit_model(embeddings, target, config("gradient_boosting"), depth=2, seed=0, balanced=True)
    assert len(forest.estimators_) == boosting.n_iter_ == 7
    assert max(tree.get_depth() for tree in forest.estimators_) == 2
    assert max(tree[0].get_max_depth() for tree in boosting._predictors) == 2
    shallow = Heads(kind="random_forest", trees=3, binary_depth=4, family_depth=1, subfamily_depth=3)
    families, rows = labelled()
    heads = fit_heads(families, rows, Taxonomy.of(rows), shallow, seed=0)
    for name, deepest in (("binary", 4), ("family", 1), ("subfamily", 3)):
        assert depth_of(heads[name]) == deepest


def depth_of(head: GraphHead) -> int:
    """Of the deepest tree in a graph."""
    graph = onnx.load_model_from_string(head.graph).graph
    node = next(node for node in graph.node if node.op_type == "TreeEnsembleClassifier")
    tree, place, left, right, mode = (
        helper.get_node_attr_value(node, f"nodes_{name}")
        for name in ("treeids", "nodeids", "truenodeids", "falsenodeids", "modes")
    )
    depth = {(number, 0): 0 for number in tree}
    for number, parent, *children, kind in zip(tree, place, left, right, mode, strict=True):
        if kind == b"BRANCH_LEQ":
            depth |= {(number, child): depth[number, parent] + 1 for child in children}
    return max(depth.values())


def labelled() -> tuple[NDArray[np.float32], Rows]:
    """240 rows of three classes: benign and two attack families of two sub-families, one of them ten times rarer."""
    embeddings, target = rows_of(5)
    rare = np.flatnonzero(target == 4)
    kept = np.setdiff1d(np.arange(len(target)), rare[5:])
    families = [("BENIGN", "A", "A", "B", "B")[place] for place in target[kept]]
    subfamilies = [("benign", "a0", "a1", "b0", "b1")[place] for place in target[kept]]
    names = tuple(map(str, kept))
    rows = Rows(
        names, np.array([int(name != "BENIGN") for name in families]), tuple(families), tuple(subfamilies), names, names
    )
    return embeddings[kept], rows


@pytest.mark.parametrize("kind", KINDS)
def test_heads_follow_the_taxonomy_and_the_seed(kind: str, tmp_path: Path) -> None:
    embeddings, rows = labelled()
    taxonomy = Taxonomy.of(rows)
    heads, again = (fit_heads(embeddings, rows, taxonomy, config(kind), seed=1) for _ in range(2))
    assert heads == again  # to the last byte
    if kind != "gradient_boosting":  # which draws nothing at so few rows
        assert heads != fit_heads(embeddings, rows, taxonomy, config(kind), seed=2)
    write_heads(tmp_path, heads, IDENTITY)
    scores, attacks = HeadSet(tmp_path)(embeddings), rows.labels == 1
    said = np.array(taxonomy.subfamilies)[scores.subfamily.argmax(1)]
    assert (said == np.array(rows.subfamilies))[attacks].mean() > 0.6
    assert ((scores.attack >= 0.5) == attacks).mean() > 0.75
    assert scores.family.shape[1] == 2
    np.testing.assert_allclose(scores.subfamily.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_rare_classes_weigh_as_much(kind: str) -> None:
    # The same place holds nine rows of class 0 and one of class 1: balanced, both are as likely.
    embeddings = np.zeros((200, 2), np.float32)
    target = (np.arange(200) % 10 == 0).astype(np.int64)
    settings = Heads.model_validate({**config(kind).model_dump(), "epochs": 1500})
    shares = [
        fit_model(embeddings, target, settings, 3, seed=0, balanced=balanced).predict_proba(embeddings[:1])[0, 1]
        for balanced in (True, False)
    ]
    assert shares == pytest.approx([0.5, 0.1], abs=0.06)


@pytest.mark.parametrize("kind", ["logistic", *KINDS])
def test_one_family_alone(kind: str, tmp_path: Path) -> None:
    embeddings, target = rows_of(2)
    names = tuple(("BENIGN", "A")[place] for place in target)
    rows = Rows(names, target, names, names, names, names)
    heads = fit_heads(embeddings, rows, Taxonomy.of(rows), config(kind), seed=0)
    write_heads(tmp_path, heads, IDENTITY)
    assert HeadSet(tmp_path)(embeddings).family.tolist() == [[1.0]] * len(rows)


def test_logistic_heads_know_classes_without_rows() -> None:
    embeddings, rows = labelled()
    taxonomy = Taxonomy.of(rows)
    wider = Taxonomy(("0", *taxonomy.families, "z"), taxonomy.subfamilies, "BENIGN", "benign", {})
    heads, plain = (fit_logistic(embeddings, rows, known, Heads()) for known in (wider, taxonomy))
    said, expected = heads["family"].logits(embeddings), plain["family"].logits(embeddings)
    np.testing.assert_allclose(said[:, 1:3], expected, atol=1e-6)
    assert log_softmax(said, axis=1)[:, [0, 3]].max() < -10


def test_graphs_are_readable_by_old_runtimes(fitted: Mapping[tuple[str, int], Model]) -> None:
    for (_, classes), model in fitted.items():
        served = class_graph(graph_head(model, classes))
        assert served.ir_version == 8
        assert {opset.domain: opset.version for opset in served.opset_import} == {"": 17, "ai.onnx.ml": 3}
        assert [part.name for part in served.graph.input] == ["embeddings"]
        assert served.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
        assert not {"label", "probabilities"} & {name for node in served.graph.node[:-2] for name in node.output}
