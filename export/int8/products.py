"""The matrix products with constants of an FP32 graph, each with the bias that is added to it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import onnx
from onnx import NodeProto


@dataclass(frozen=True)
class Product:
    """states @ weight + bias; tensors by name."""

    states: str  # (…, inputs)
    weight: str  # (inputs, outputs), a constant
    bias: str | None  # (outputs,), a constant
    output: str
    nodes: tuple[str, ...]  # outputs of its nodes: MatMul, and Add where there is a bias


@dataclass(frozen=True)
class Activation:
    """A GELU between two products and read by nothing else; tensors by name."""

    given: str
    output: str


def find_products(model: onnx.ModelProto) -> list[Product]:
    """In the order of the graph. Products of two activations are none of these: they stay as they are."""
    sizes = {tensor.name: len(tensor.dims) for tensor in model.graph.initializer}
    readers = _readers(model)
    found = []
    for node in model.graph.node:
        if node.op_type != "MatMul" or sizes.get(node.input[1]) != 2:
            continue
        output, bias, nodes = node.output[0], None, [node.output[0]]
        after = readers[output]
        if len(after) == 1 and after[0].op_type == "Add":
            other = next(name for name in after[0].input if name != output)
            if sizes.get(other) == 1:
                output, bias = after[0].output[0], other
                nodes.append(output)
        found.append(Product(node.input[0], node.input[1], bias, output, tuple(nodes)))
    return found


def find_activations(model: onnx.ModelProto) -> list[Activation]:
    """The exact GELUs (not those by tanh) of feed-forward parts."""
    products, readers = find_products(model), _readers(model)
    before, behind = {product.output for product in products}, {product.states for product in products}
    return [
        Activation(node.input[0], node.output[0])
        for node in model.graph.node
        if node.op_type == "Gelu" and not any(attribute.s == b"tanh" for attribute in node.attribute)
        if node.input[0] in before and node.output[0] in behind
        if len(readers[node.input[0]]) == len(readers[node.output[0]]) == 1
    ]


def _readers(model: onnx.ModelProto) -> dict[str, list[NodeProto]]:
    """Who reads a tensor; an output of the graph has the outside as one reader more."""
    readers: dict[str, list[NodeProto]] = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            readers[name].append(node)
    for value in model.graph.output:
        readers[value.name].append(NodeProto())
    return readers
