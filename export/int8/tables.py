"""Tables of embeddings in a byte a value: rows are looked up as integers, each with its scale."""

from __future__ import annotations

import math

import onnx
import torch
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from core.grid import Grid
from core.integers import quantise as to_integers
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


def look_up(writer: Writer, node: NodeProto, table: NDArray) -> None:
    """In place of the look-up `node` in `table` (rows, columns): the same tensor, from eight bits."""
    name, ids, output = node.input[0], node.input[1], node.output[0]
    found = to_integers(torch.from_numpy(table), Grid())
    codes = writer.constant(f"{name} integers", found.integers.numpy())
    scales = writer.constant(f"{name} scales", found.scales.numpy())  # (rows, 1)
    rows = writer.add("Gather", [codes, ids], f"{output} integers")
    values = writer.add("Cast", [rows], f"{output} unscaled", {"to": TensorProto.FLOAT})
    writer.add("Mul", [values, writer.add("Gather", [scales, ids], f"{output} scale")], output)
