"""What is left in FP32 beside products and word embeddings, such as positions: held in bytes, unpacked at load."""

from __future__ import annotations

import math

import onnx
import torch
from onnx import TensorProto, numpy_helper

from core.grid import Grid
from core.integers import quantise
from export.writer import Writer

LARGE = 50_000  # values; smaller tensors are not worth a rounding


def in_bytes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Its large FP32 matrices as INT8 times a scale for each row, which constant folding makes FP32 again."""
    large = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2 and math.prod(tensor.dims) >= LARGE
        if tensor.dims[1] > 1  # scales are no weights
    }
    opset = next(entry.version for entry in model.opset_import if not entry.domain)
    writer = Writer([tensor for tensor in model.graph.initializer if tensor.name not in large], opset)
    for name, matrix in large.items():
        found = quantise(torch.from_numpy(matrix.copy()), Grid())
        integers = writer.constant(f"{name} in bytes", found.integers.numpy())
        values = writer.add("Cast", [integers], f"{name} unscaled", {"to": TensorProto.FLOAT})
        writer.add("Mul", [values, writer.constant(f"{name} scales", found.scales.numpy())], name)
    writer.nodes.extend(model.graph.node)
    return writer.model(model.graph.input, model.graph.output)
