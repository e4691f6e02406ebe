"""Heads as ONNX graphs in scikit-learn's form; only writing needs this, and `onnx`, serving does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from core.calibration import Calibration, Piecewise, Temperature, no_lower
from core.calibration_graph import Parts, add_classwise, add_piecewise
from core.heads import HEADS, GraphHead, Head, LinearHead, OperatingPoint, head_path

OPSETS = {"": 17, "ai.onnx.ml": 3}
IR_VERSION = 8  # what opset 17 came with: every onnxruntime since 1.12 reads it


def binary_graph(head: Head, point: OperatingPoint, zip_map: bool = True) -> onnx.ModelProto:
    """The binary head with its operating point: `embeddings` (batch, dim) float32 -> `label`, `probabilities`.

    The form is skl2onnx's for a scikit-learn classifier: label (batch,) int64, and a list of {class: p}, one map a row;
    without `zip_map` the probabilities are an array (batch, classes).
    """
    parts, curve = Parts(), point.curve
    if isinstance(head, LinearHead) and curve is None:
        moved = _add_head(parts, point.fold(head))
    elif curve is not None:
        moved = add_piecewise(parts, curve, _add_head(parts, head))
    else:
        threshold = parts.constant("threshold", np.array(no_lower(point.logit)))
        above = parts.add("Sub", [_add_head(parts, head), threshold], "above")
        moved = parts.add("Mul", [above, parts.constant("scale", point.scale)], "moved")
    # The label comes from the probability, not from the logit's sign: rounding must not part the two.
    attack = parts.add("Sigmoid", [moved], "attack")
    benign = parts.add("Sub", [parts.constant("one", 1.0), attack], "benign")
    parts.add("Concat", [benign, attack], "scores", {"axis": 1})
    flagged = parts.add("GreaterOrEqual", [attack, parts.constant("half", 0.5)], "flagged")
    flat = parts.add("Reshape", [flagged, parts.constant("flat", np.array([-1], np.int64))], "flagged_flat")
    parts.add("Cast", [flat], "label", {"to": TensorProto.INT64})
    return _model(parts, head.dimension, "scores", 2, zip_map)


def class_graph(head: Head, calibration: Calibration | None = None, zip_map: bool = True) -> onnx.ModelProto:
    """A family or sub-family head in the form of `binary_graph`."""
    parts = Parts()
    if isinstance(head, LinearHead) and isinstance(calibration, Temperature):
        slope = np.float32(calibration.slope)
        head, calibration = replace(head, weight=head.weight * slope, bias=head.bias * slope), None
    logits = _add_head(parts, head)
    if isinstance(calibration, Temperature):
        logits = parts.add("Mul", [logits, parts.constant("slope_of_all", calibration.slope)], "sharpened")
    scores = parts.add("Softmax", [logits], "scores", {"axis": 1})
    if isinstance(calibration, Piecewise):
        scores = add_classwise(parts, calibration, scores)
    parts.add("ArgMax", [scores], "label", {"axis": 1, "keepdims": 0})
    return _model(parts, head.dimension, scores, head.classes, zip_map)


def _add_head(parts: Parts, head: Head) -> str:
    """The raw logits of `embeddings`."""
    if isinstance(head, GraphHead):
        graph = onnx.load_model_from_string(head.graph).graph
        parts.nodes += graph.node
        parts.constants += graph.initializer
        return "logits"
    weight, bias = parts.constant("weight", head.weight), parts.constant("bias", head.bias)
    return parts.add("Gemm", ["embeddings", weight, bias], "logits", {"transB": 1})


def _model(parts: Parts, dimension: int, scores: str, classes: int, zip_map: bool) -> onnx.ModelProto:
    """Closes the graph over `label` and the `scores` (batch, classes)."""
    zipped = helper.make_node(
        "ZipMap", [scores], ["probabilities"], domain="ai.onnx.ml", classlabels_int64s=list(range(classes))
    )
    maps = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, shape=None))
    graph = helper.make_graph(
        [*parts.nodes, zipped],
        "classifier",
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", dimension])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"]),
            helper.make_value_info("probabilities", helper.make_sequence_type_proto(maps)),
        ],
        parts.constants,
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="raxe-distill")
    model.ir_version = IR_VERSION
    model = model if zip_map else without_zip_map(model)
    onnx.checker.check_model(model)
    return model


def without_zip_map(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose `probabilities` are an array (batch, classes) float32; the same graph where they are already."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    zipped = [node for node in plain.graph.node if node.op_type == "ZipMap"]
    for node in zipped:
        classes = len(helper.get_node_attr_value(node, "classlabels_int64s"))
        array = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", classes])
        plain.graph.node.append(helper.make_node("Identity", node.input, node.output))
        plain.graph.output[1].CopyFrom(array)
        plain.graph.node.remove(node)
    return plain


def write_heads(
    folder: Path,
    heads: Mapping[str, Head],
    point: OperatingPoint,
    calibrations: Mapping[str, Calibration] = {},
    zip_map: bool = True,
) -> None:
    """Writes the three heads, operating point and calibrations (of the family heads, by name) built in."""
    for name in HEADS:
        if name == "binary":
            model = binary_graph(heads[name], point, zip_map)
        else:
            model = class_graph(heads[name], calibrations.get(name), zip_map)
        head_path(folder, name).write_bytes(model.SerializeToString())
