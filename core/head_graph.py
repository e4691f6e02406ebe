"""Linear heads as ONNX graphs in scikit-learn's form; only writing needs this, and `onnx`, serving does not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from core.heads import HEADS, LinearHead, OperatingPoint, head_path

OPSET = 17
IR_VERSION = 8  # what opset 17 came with: every onnxruntime since 1.12 reads it


def linear_graph(head: LinearHead, binary: bool) -> onnx.ModelProto:
    """The head as ONNX: `embeddings` (batch, dim) float32 -> `label` (batch,) int64, `probabilities` [{class: p}].

    The form is skl2onnx's for a scikit-learn classifier with ZipMap, which the serving side reads.
    """
    classes, dim = (2 if binary else len(head.bias)), head.weight.shape[1]
    nodes = [helper.make_node("Gemm", ["embeddings", "weight", "bias"], ["logits"], transB=1)]
    constants = [numpy_helper.from_array(head.weight, "weight"), numpy_helper.from_array(head.bias, "bias")]
    if binary:
        # The label comes from the probability, not from the logit's sign: rounding must not part the two.
        constants += [
            numpy_helper.from_array(np.array(value, np.float32), name) for name, value in (("one", 1), ("half", 0.5))
        ]
        constants += [numpy_helper.from_array(np.array([-1], dtype=np.int64), "flat")]
        nodes += [
            helper.make_node("Sigmoid", ["logits"], ["attack"]),
            helper.make_node("Sub", ["one", "attack"], ["benign"]),
            helper.make_node("Concat", ["benign", "attack"], ["scores"], axis=1),
            helper.make_node("GreaterOrEqual", ["attack", "half"], ["flagged"]),
            helper.make_node("Reshape", ["flagged", "flat"], ["flagged_flat"]),
            helper.make_node("Cast", ["flagged_flat"], ["label"], to=TensorProto.INT64),
        ]
    else:
        nodes += [
            helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
            helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
        ]
    class_numbers = list(range(classes))
    nodes.append(
        helper.make_node("ZipMap", ["scores"], ["probabilities"], domain="ai.onnx.ml", classlabels_int64s=class_numbers)
    )
    maps = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, shape=None))
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", dim])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"]),
            helper.make_value_info("probabilities", helper.make_sequence_type_proto(maps)),
        ],
        constants,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="raxe-distill")
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    return model


def write_linear_heads(folder: Path, heads: Mapping[str, LinearHead], point: OperatingPoint) -> None:
    """Writes the three heads, the operating point folded into the binary one."""
    for name in HEADS:
        head = point.fold(heads[name]) if name == "binary" else heads[name]
        head_path(folder, name).write_bytes(linear_graph(head, name == "binary").SerializeToString())
