"""A fitted scikit-learn classifier as the ONNX graph of its raw logits, through skl2onnx where that can."""

from __future__ import annotations

import copy

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx.compose import add_prefix
from onnx.utils import Extractor
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.neural_network import MLPClassifier

from core.calibration_graph import Parts
from core.head_graph import IR_VERSION, OPSETS
from core.heads import GraphHead
from distill.heads.trees import add_boosting, without_needless

PREFIX = "model/"  # of every name in the graph but its input and output: what follows it has names of its own
RAREST = 1e-7  # a forest's 0 and 1 as probabilities whose log-odds are finite
NEVER = -25.0  # log-probability of a class that had no rows


def graph_head(
    model: RandomForestClassifier | HistGradientBoostingClassifier | MLPClassifier, classes: int | None
) -> GraphHead:
    """The head of a model fitted on class numbers; classes: how many there are (some may have had no rows), or None
    for the binary head, whose one logit is the log-odds of class 1.

    A NaN in the embedding makes every logit NaN: trees would answer it as if nothing were wrong.
    """
    dimension = int(model.n_features_in_)
    parts = Parts()
    if isinstance(model, HistGradientBoostingClassifier):
        logits = add_boosting(parts, model)
    elif isinstance(model, MLPClassifier):
        logits = _add_mlp(parts, model)
    else:
        logits = _add_forest(parts, model)
    if classes is not None:
        logits = _add_places(parts, logits, model.classes_, classes)
    nothing = parts.add("Mul", ["embeddings", parts.constant("nought", 0.0)], "nothing")
    first = parts.constant("across", np.array([1], np.int64))
    parts.add("Add", [logits, parts.add("ReduceSum", [nothing, first], "nan_or_0", {"keepdims": 1})], "logits")
    width = classes or 1
    graph = helper.make_graph(
        parts.nodes,
        "logits",
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", dimension])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", width])],
        parts.constants,
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    whole = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    whole = add_prefix(whole, PREFIX, rename_inputs=False, rename_outputs=False)
    onnx.checker.check_model(whole)
    return GraphHead(whole.SerializeToString(), dimension, width)


def _converted(parts: Parts, model: RandomForestClassifier | MLPClassifier) -> str:
    """What skl2onnx makes of `predict_proba`, (batch, classes)."""
    whole = convert_sklearn(
        model,
        initial_types=[("embeddings", FloatTensorType([None, int(model.n_features_in_)]))],
        options={id(model): {"zipmap": False}},
        target_opset=OPSETS,
    )
    graph = Extractor(whole).extract_model(["embeddings"], ["probabilities"]).graph  # without what gives the label
    parts.nodes += [without_needless(node) for node in graph.node]
    parts.constants += graph.initializer
    return "probabilities"


def _add_forest(parts: Parts, model: RandomForestClassifier) -> str:
    """Log-probabilities, or the log-odds of the second of two classes."""
    likely = parts.add(
        "Clip", [_converted(parts, model), parts.constant("rarest", RAREST), parts.constant("surest", 1 - RAREST)], "p"
    )
    logs = parts.add("Log", [likely], "logs")
    if len(model.classes_) > 2:
        return logs
    second = parts.constant("odds", np.array([[-1], [1]], np.float32))
    return parts.add("MatMul", [logs, second], "log_odds")


def _add_mlp(parts: Parts, model: MLPClassifier) -> str:
    """What stands before the last activation: skl2onnx is told that it is none."""
    bare = copy.copy(model)
    bare.out_activation_ = "identity"
    logits = _converted(parts, bare)
    if len(model.classes_) > 2:
        return logits
    second = parts.constant("second", np.array([1], np.int64))
    return parts.add("Gather", [logits, second], "log_odds", {"axis": 1})  # the first is 1 less this


def _add_places(parts: Parts, logits: str, present: NDArray[np.int64], classes: int) -> str:
    """(batch, classes) from the classes that had rows (batch, present), or from the one log-odds of two."""
    if len(present) == 2:
        both = parts.constant("both", np.array([[0, 1]], np.float32))
        logits = parts.add("MatMul", [logits, both], "of_both")
    if len(present) == classes:
        return logits
    place = np.eye(classes, dtype=np.float32)[present]  # (present, classes)
    absent = np.where(np.isin(np.arange(classes), present), 0, NEVER).astype(np.float32)
    shares = parts.add("LogSoftmax", [logits], "shares", {"axis": 1})
    placed = parts.add("MatMul", [shares, parts.constant("place", place)], "placed")
    return parts.add("Add", [placed, parts.constant("absent", absent)], "of_all")
