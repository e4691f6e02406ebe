"""States moved channel by channel to the middle of their range, so that eight bits span less of it in finer steps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto

from export.int8.products import Product, find_products
from export.int8.watch import watch
from export.writer import Writer


@dataclass(frozen=True)
class Normed:
    """The output of a LayerNormalization, and all who read it; tensors by name."""

    states: str
    bias: str
    behind: tuple[Product, ...]
    """The products that it enters."""
    beside: Product
    """What is added to it in the residual sum."""


def centre(model: onnx.ModelProto, texts: Sequence[Sequence[int]]) -> onnx.ModelProto:
    """The same function; `texts` (ids) show the ranges.

    Channel-wise shifting (Wei et al. 2023, Outlier Suppression+, arXiv 2304.09145). In MPNet and MiniLM one channel is
    near 30 for <s> and near 0 for all other tokens, and decides the scale alone. Less the middle of its range it
    reaches half as far. The shift is taken from the bias of the LayerNormalization and given back in the biases of the
    products behind it and of the product that the residual sum adds, so it costs nothing when the graph runs.
    """
    found = find_normed(model)
    opset = next(entry.version for entry in model.opset_import if not entry.domain)
    writer = Writer(model.graph.initializer, opset)
    writer.nodes = list(model.graph.node)
    middles = _middles(model, [one.states for one in found], texts) if found else {}
    for one in found:
        middle = middles[one.states]
        writer.change(one.bias, writer.array(one.bias) - middle)
        for product in one.behind:
            writer.change(str(product.bias), writer.array(str(product.bias)) + middle @ writer.array(product.weight))
        writer.change(str(one.beside.bias), writer.array(str(one.beside.bias)) + middle)
    return writer.model(model.graph.input, model.graph.output)


def find_normed(model: onnx.ModelProto) -> list[Normed]:
    """Those that are read by products with biases and one residual sum, whose other part is such a product, too."""
    products = [product for product in find_products(model) if product.bias]
    by_node = {product.nodes[0]: product for product in products}
    by_output = {product.output: product for product in products}
    readers: dict[str, list[NodeProto]] = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            readers[name].append(node)
    leaving = {value.name for value in model.graph.output}
    found = []
    for node in model.graph.node:
        if node.op_type != "LayerNormalization" or len(node.input) < 3 or node.output[0] in leaving:
            continue
        states = node.output[0]
        sums = [reader for reader in readers[states] if reader.op_type == "Sum" and len(reader.input) == 2]
        behind = [by_node[reader.output[0]] for reader in readers[states] if reader.output[0] in by_node]
        if len(sums) != 1 or not behind or len(behind) + 1 != len(readers[states]):
            continue
        beside = by_output.get(next((name for name in sums[0].input if name != states), states))
        if beside is None or len(readers[beside.output]) != 1:
            continue
        biases = [node.input[2], beside.bias, *(product.bias for product in behind)]
        if all(len(readers[str(bias)]) == 1 for bias in biases):
            found.append(Normed(states, node.input[2], tuple(behind), beside))
    return found


def _middles(
    model: onnx.ModelProto, names: Sequence[str], texts: Sequence[Sequence[int]]
) -> dict[str, NDArray[np.float32]]:
    """Half way between the least and the greatest value of each channel, (channels,)."""
    ends: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}
    for values in watch(model, names, texts):
        for name in names:
            tokens = values[name].reshape(-1, values[name].shape[-1])
            low, high = ends.get(name, (tokens[0], tokens[0]))
            ends[name] = np.minimum(low, tokens.min(0)), np.maximum(high, tokens.max(0))
    return {name: (low + high) / np.float32(2) for name, (low, high) in ends.items()}
