"""What the file of a graph takes as it is, with no zeros packed and in a ZIP archive, and how many weights are zero."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, numpy_helper

PRODUCTS = {"MatMul", "MatMulIntegerToFloat"}
HALF_BYTES = {TensorProto.INT4, TensorProto.UINT4}  # two integers in a byte


@dataclass(frozen=True)
class Stored:
    """Of one graph; sizes in bytes."""

    file: int
    dense: int
    """Of the same graph with every weight in the file, zero or not."""
    zipped: int
    """Deflated, as in a ZIP archive."""
    matrices: int
    """That products of a matrix and a constant take …"""
    packed_matrices: int
    """… of which so many are held by their non-zero values and where these stand."""
    weights: int
    """In the matrices …"""
    non_zeros: int
    """… and of these not zero."""


def measure(model: onnx.ModelProto) -> Stored:
    """By the tensors and nodes of the file; onnxruntime's own MatMulNBits has no matrices in this sense."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    unpacking = _unpacking(model)
    taken = dict.fromkeys(node.input[1] for node in model.graph.node if node.op_type in PRODUCTS)
    found = [_matrix(name, unpacking[name], tensors) for name in taken if name in unpacking]
    content = model.SerializeToString()
    return Stored(
        file=len(content),
        dense=len(content) + sum(matrix.saved for matrix in found),
        zipped=len(zlib.compress(content, 6)),
        matrices=len(found),
        packed_matrices=sum(matrix.packed for matrix in found),
        weights=sum(matrix.weights for matrix in found),
        non_zeros=sum(matrix.non_zeros for matrix in found),
    )


def sentence(stored: Stored) -> str:
    """One line; MB are 10^6 bytes."""
    sizes = f"{stored.file / 1e6:.2f} MB, {stored.dense / 1e6:.2f} dense, {stored.zipped / 1e6:.2f} zipped"
    if not stored.weights:
        return f"graph: {sizes}"
    share = stored.non_zeros / stored.weights
    return (
        f"graph: {sizes}; {stored.non_zeros:,} of {stored.weights:,} weights ({share:.1%}) are not zero,"
        f" {stored.packed_matrices} of {stored.matrices} matrices packed"
    )


@dataclass(frozen=True)
class _Matrix:
    """One of them; saved: bytes that leaving out its zeros spares the file."""

    weights: int
    non_zeros: int
    packed: bool = False
    saved: int = 0


def _matrix(name: str, nodes: Sequence[NodeProto], tensors: Mapping[str, TensorProto]) -> _Matrix:
    """nodes: what unpacks the matrix `name` from the tensors of the file."""
    read = {name, *(source for node in nodes for source in node.input)}
    held = [tensors[source] for source in sorted(read & tensors.keys())]
    scatter = next((node for node in nodes if node.op_type == "ScatterElements"), None)
    if scatter is None:
        largest = max(held, key=lambda tensor: math.prod(tensor.dims))
        return _Matrix(math.prod(largest.dims), int(np.count_nonzero(numpy_helper.to_array(largest))))
    zeros, places, values = scatter.input
    empty = next(node for node in nodes if node.output[0] == zeros)
    weights = int(numpy_helper.to_array(tensors[empty.input[0]]).prod())
    gaps = next(tensor for tensor in held if tensor.name == f"{places.removesuffix(' places')} gaps")
    apart = next(tensor for tensor in held if tensor.name.startswith(values))
    dense = -(-weights // 2) if apart.data_type in HALF_BYTES else weights
    saved = dense - len(gaps.raw_data) - len(apart.raw_data)
    return _Matrix(weights, int(np.count_nonzero(numpy_helper.to_array(apart))), True, saved)


def _unpacking(model: onnx.ModelProto) -> dict[str, list[NodeProto]]:
    """Everything that no text changes, by name: the nodes that make it of the file's tensors, none for a tensor."""
    known: dict[str, list[NodeProto]] = {tensor.name: [] for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.input and all(name in known for name in node.input):
            nodes = [node, *(before for name in node.input for before in known[name])]
            known.update(dict.fromkeys(node.output, nodes))
    return known
