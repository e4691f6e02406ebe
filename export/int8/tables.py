"""Tables of embeddings as integers: rows are looked up as they are stored, each with its scale."""

from __future__ import annotations

import math

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from export.writer import Writer

BIG = 1_000_000  # values; below, a looked-up table is no weight worth a rounding


def find_tables(model: onnx.ModelProto) -> set[str]:
    """Outputs of the look-ups by row in big tables."""
    big = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) == 2 and math.prod(tensor.dims) >= BIG}
    return {
        node.output[0]
        for node in model.graph.node
        if node.op_type == "Gather" and node.input[0] in big
        if not any(attribute.name == "axis" and attribute.i for attribute in node.attribute)
    }


def look_up(writer: Writer, node: NodeProto, integers: str, scales: NDArray[np.float32]) -> None:
    """In place of the look-up `node`: the same tensor, from INT8 (rows, columns) times scales (rows, 1)."""
    name, ids, output = node.input[0], node.input[1], node.output[0]
    rows = writer.add("Gather", [integers, ids], f"{output} integers")
    values = writer.add("Cast", [rows], f"{output} unscaled", {"to": TensorProto.FLOAT})
    steps = writer.constant(f"{name} scales", scales)
    writer.add("Mul", [values, writer.add("Gather", [steps, ids], f"{output} scale")], output)
