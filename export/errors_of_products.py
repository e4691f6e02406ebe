"""Where rounding errs: the noise that each product makes by itself, of its weights and of what enters it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from core.activation_ranges import Scale
from core.straight_through import LEVELS
from export.int8.observe import Observed
from export.int8.products import Product, find_activations, find_products
from export.int8.sigmoid import SLOPE, approximation
from export.int8.watch import watch
from export.writer import Writer

Values = NDArray[np.float32]


@dataclass(frozen=True)
class ProductError:
    """Of one product, were everything before it exact: noise power over signal power, 0 for none."""

    name: str
    """Of its output, such as `layer 0 inner`."""
    weights: float
    """By the weights' rounding alone."""
    activations: float
    """By the rounding of what enters alone; behind a GELU with what its sigmoid differs by."""


@dataclass(frozen=True)
class _Held:
    """What a rounded graph multiplies with."""

    weight: Values  # (inputs, outputs)
    bias: Values  # (outputs,)


def measure(
    exact: onnx.ModelProto, rounded: onnx.ModelProto, observed: Observed, texts: Sequence[Sequence[int]]
) -> list[ProductError]:
    """Of every product on fixed scales, in the order of the graph.

    exact: the FP32 graph that `rounded` was made from with `observed`; texts: ids. The integers are read from
    the rounded graph itself, packed or not, so that this is the error of what is served. A channel's mean counts in the
    noise, where it shifts every text alike, and not in the signal.
    """
    products = [product for product in find_products(exact) if product.states in observed.scales]
    given = {one.output: one.given for one in find_activations(exact)}  # by what leaves a GELU
    constants = Writer(exact.graph.initializer)
    held = _held(rounded, products, {*given.values()}, texts[:1])
    names = list(dict.fromkeys([*(product.states for product in products), *given.values()]))
    sums = {product.output: _Sums() for product in products}
    nothing = np.zeros((), np.float32)
    for values in watch(exact, names, texts):
        for product in products:
            states, weight, there = values[product.states], constants.array(product.weight), held[product.output]
            bias = constants.array(product.bias) if product.bias else nothing
            entering, short = states, nothing
            if product.states in given:
                entering = approximation(values[given[product.states]])
                short = observed.shortfalls[product.states] @ weight
            offset = there.bias - bias - short  # what the bias takes back of the weights' errors
            sums[product.output].add(
                states @ weight,
                states @ (there.weight - weight) + offset,
                (_rounded(entering, observed.scales[product.states]) - states) @ weight + short,
            )
    return [ProductError(name, *found.shares()) for name, found in sums.items()]


def decibels(share: float) -> float:
    """Signal over noise, of noise over signal: 20 dB are an error of 10 %, 6 dB more halve it."""
    return -10 * float(np.log10(max(share, float(np.finfo(np.float32).tiny))))


def _rounded(states: Values, scale: Scale) -> Values:
    """To the values of UINT8."""
    integers = np.clip(np.rint(states / np.float32(scale.scale)), -scale.zero_point, LEVELS - scale.zero_point)
    return np.asarray(integers * np.float32(scale.scale), np.float32)


def _held(
    rounded: onnx.ModelProto, products: Sequence[Product], before: set[str], text: Sequence[Sequence[int]]
) -> Mapping[str, _Held]:
    """By the product's output; before: outputs that enter a GELU, whose steps and bias are SLOPE times as large."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in rounded.graph.initializer}
    nodes = {node.output[0]: node for node in rounded.graph.node if node.op_type == "MatMulIntegerToFloat"}
    inputs = {product.output: [*nodes[product.output].input, ""] for product in products}
    packed = [names[1] for names in inputs.values() if names[1] not in constants]
    values = constants | (next(iter(watch(rounded, packed, text))) if packed else {})
    found = {}
    for output, names in inputs.items():
        slope = np.float32(SLOPE if output in before else 1)
        weight = values[names[1]].astype(np.float32) * (values[names[3]] / slope)
        bias = values[names[6]] / slope if names[6:] and names[6] else np.zeros(weight.shape[1], np.float32)
        found[output] = _Held(weight, bias)
    return found


class _Sums:
    """Powers added up as texts come."""

    def __init__(self) -> None:
        self.rows = 0
        self.first: NDArray[np.float64] | float = 0.0
        self.second = self.by_weights = self.by_activations = 0.0

    def add(self, output: Values, by_weights: Values, by_activations: Values) -> None:
        """(1, tokens, outputs) each."""
        flat = output.reshape(-1, output.shape[-1]).astype(np.float64)
        self.rows += len(flat)
        self.first = self.first + flat.sum(0)
        self.second += float(np.square(flat).sum())
        self.by_weights += float(np.square(by_weights, dtype=np.float64).sum())
        self.by_activations += float(np.square(by_activations, dtype=np.float64).sum())

    def shares(self) -> tuple[float, float]:
        signal = self.second - float(np.square(self.first).sum()) / self.rows
        return self.by_weights / signal, self.by_activations / signal
