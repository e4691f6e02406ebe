"""An FP32 graph with its products in INT8: signed weights per channel against unsigned activations."""

from __future__ import annotations

import numpy as np
import onnx

from export.int8.observe import Observed
from export.int8.products import Product, find_activations, find_products
from export.int8.rows import round_rows
from export.int8.sigmoid import SLOPE
from export.int8.tables import find_tables
from export.int8.weights import InBytes, Weights
from export.writer import CONTRIB, Writer

Rounded = tuple[str, str, str]  # integers, their scale and zero point, by name


def quantise(
    model: onnx.ModelProto,
    observed: Observed | None = None,
    reduce_range: bool = False,
    weights: Weights | None = None,
) -> onnx.ModelProto:
    """A new graph of the same inputs and outputs.

    With `observed`, activations are rounded on scales that were fixed on training texts, and a text gets the same
    embedding alone, padded or in company. Without, each product takes its scale from all that enters it, padding and
    other texts included (onnxruntime issues 8625, 10111).
    reduce_range: weights of seven bits, where U8S8 products saturate: AVX2, and AVX512 without VNNI.
    weights: another way to round and write them than a byte each.
    Products of two activations (queries by keys, scores by values) stay in FP32; U8S8, because S8S8 was 5 times slower.
    """
    return _Rewriting(model, observed, weights or InBytes(reduce_range)).whole()


class _Rewriting:
    """One graph being rewritten."""

    def __init__(self, model: onnx.ModelProto, observed: Observed | None, weights: Weights) -> None:
        self.model = model
        self.observed = observed
        self.weights = weights
        opset = next(entry.version for entry in model.opset_import if not entry.domain)
        self.writer = Writer(model.graph.initializer, opset)
        activations = find_activations(model) if observed else []
        self.before = {one.given for one in activations}  # what enters a GELU by sigmoid
        self.behind = {one.output for one in activations}
        self.rounded: dict[str, Rounded] = {}  # by the tensor that was rounded
        self.factors: dict[str, str] = {}  # by the same: what its rows were divided by

    def whole(self) -> onnx.ModelProto:
        first = {product.nodes[0]: product for product in find_products(self.model)}
        rest = {name for product in first.values() for name in product.nodes[1:]}
        tables = find_tables(self.model)
        for node in self.model.graph.node:
            name = node.output[0]
            if name in first:
                self._product(first[name])
            elif name in self.behind:
                self.writer.add("QuickGelu", [node.input[0]], name, {"alpha": 1.0, "domain": CONTRIB})
            elif name in tables:
                self.weights.table(self.writer, node)
            elif name not in rest:
                self.writer.nodes.append(node)
        return self.writer.model(self.model.graph.input, self.model.graph.output)

    def _product(self, product: Product) -> None:
        """MatMulIntegerToFloat: integers, their scales and the bias in one operator."""
        states, name, weight = product.states, product.weight, self.writer.array(product.weight)
        if states not in self.rounded:
            self.rounded[states] = self._round(states)
        integers, scale, zero_point = self.rounded[states]
        found = self.weights.matrix(self.writer, product)
        slope = np.float32(SLOPE if product.output in self.before else 1)
        steps = self.writer.constant(f"{name} steps", found.steps * slope)  # (outputs,)
        bias = np.zeros(weight.shape[1], np.float32) if product.bias is None else self.writer.array(product.bias)
        if found.offset is not None:
            bias = bias + found.offset
        if states in self.behind and self.observed:
            bias = bias + self.observed.shortfalls[states] @ weight
        inputs, contrib = [integers, found.integers, scale, steps, zero_point], {"domain": CONTRIB}
        offset = [self.writer.constant(f"{name} offsets", bias * slope)] if bias.any() else []
        if states not in self.factors:
            behind_zero_points = ["", *offset] if offset else []
            self.writer.add("MatMulIntegerToFloat", inputs + behind_zero_points, product.output, contrib)
            return
        even = self.writer.add("MatMulIntegerToFloat", inputs, f"{product.output} even", contrib)
        larger = f"{product.output} larger" if offset else product.output
        self.writer.add("Mul", [even, self.factors[states]], larger)
        if offset:
            self.writer.add("Add", [larger, *offset], product.output)

    def _round(self, states: str) -> Rounded:
        """Once for all products that read the same states."""
        names = integers, scale, zero_point = (f"{states} integers", f"{states} scale", f"{states} zero point")
        if self.observed is None:
            self.writer.split("DynamicQuantizeLinear", [states], names)
            return names
        if states in self.observed.pooled:
            rounded, self.factors[states] = round_rows(self.writer, states)
            return rounded
        fixed = self.observed.scales[states]
        step = self.writer.constant(scale, np.array(fixed.scale, np.float32))
        self.writer.constant(zero_point, np.array(fixed.zero_point, np.uint8))
        if states in self.behind:  # what comes is SLOPE times too large
            step = self.writer.constant(f"{states} step", np.array(fixed.scale * SLOPE, np.float32))
        # The contrib operator equals ONNX' own, which onnxruntime 1.23 lacks in opset 23.
        self.writer.add("QuantizeLinear", [states, step, zero_point], integers, {"domain": CONTRIB})
        return names
