"""A graph with weights and arithmetic in FP16 and FP32 ends: half the bytes, for teachers and GPUs."""

from __future__ import annotations

import onnx

POOLING = {"real row", "pooled", "sum", "projection product", "size", "length", "sentence_embedding"}
KEPT = ("ReduceL2", "ReduceSum", "ReduceMean", "Div", "Pow", "Sqrt", "Clip")
"""Operators that stay in FP32 wherever they stand: sums over many terms leave FP16's range (65,504)."""
NOTE = "FP16 graphs are for GPUs and for disk: a CPU runs them no faster than FP32 (measure with eval.race)"


def to_half(fp32: onnx.ModelProto) -> onnx.ModelProto:
    """Inputs, outputs and pooling stay as they are; stays valid on a CPU, where onnxruntime casts what it must."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = onnx.ModelProto()
    model.CopyFrom(fp32)
    half: onnx.ModelProto = convert_float_to_float16(
        model,
        keep_io_types=True,
        op_block_list=[*DEFAULT_OP_BLOCK_LIST, *KEPT],
        node_block_list=[node.name for node in model.graph.node if node.name in POOLING],
    )
    _once(half.graph)
    _straight(half.graph)
    OnnxModel(half).topological_sort(is_deterministic=True)  # the casts were added at the end
    onnx.checker.check_model(half)
    return half


def _once(graph: onnx.GraphProto) -> None:
    """A tensor that two FP32 nodes read is cast once for each of them, under one name: the first cast does for both."""
    seen = set[str]()
    for node in list(graph.node):
        if node.op_type == "Cast" and node.output[0] in seen:
            graph.node.remove(node)
        seen.update(node.output)


def _straight(graph: onnx.GraphProto) -> None:
    """From one FP32 node to the next without FP16 between: rounded in between, embeddings have not length 1."""
    rounded = {node.output[0]: node.input[0] for node in graph.node if _casts(node, onnx.TensorProto.FLOAT16)}
    for node in graph.node:
        if _casts(node, onnx.TensorProto.FLOAT):
            node.input[0] = rounded.get(node.input[0], node.input[0])
    read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    for node in list(graph.node):
        if node.output[0] in rounded and node.output[0] not in read:
            graph.node.remove(node)


def _casts(node: onnx.NodeProto, kind: int) -> bool:
    return node.op_type == "Cast" and node.attribute[0].i == kind
