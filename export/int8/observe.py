"""What passes through the FP32 graph while it reads training texts: the ground of fixed scales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from core.activation_ranges import Scale
from export.int8.products import find_activations, find_products
from export.int8.ranges import Histogram, best_scale
from export.int8.sigmoid import approximation
from export.int8.watch import watch


@dataclass(frozen=True)
class Observed:
    """What the texts have shown; by the names of tensors."""

    scales: Mapping[str, Scale]
    """Of what enters each product with a constant token by token, (texts, tokens, channels)."""
    pooled: frozenset[str]
    """What enters such products as one row a text, (texts, channels): few values, whose size depends on the text."""
    shortfalls: Mapping[str, NDArray[np.float32]]
    """Mean of GELU less its approximation, (channels,) for each GELU by its output."""


def observe(model: onnx.ModelProto, texts: Sequence[Sequence[int]]) -> Observed:
    """texts: their ids; UserError without any."""
    entering = list(dict.fromkeys(product.states for product in find_products(model)))
    activations = find_activations(model)
    names = list(dict.fromkeys([*entering, *(part for one in activations for part in (one.given, one.output))]))
    histograms = {name: Histogram() for name in entering}
    pooled: set[str] = set()
    sums: dict[str, NDArray[np.float64] | float] = {one.output: 0.0 for one in activations}
    tokens = 0
    for values in watch(model, names, texts):
        pooled |= {name for name in entering if values[name].ndim == 2}
        for name in entering:
            histograms[name].add(values[name])
        tokens += next((values[one.given].shape[1] for one in activations), 0)  # a long text may be read in part
        for one in activations:
            short = values[one.output] - approximation(values[one.given])  # (1, tokens, channels)
            sums[one.output] = sums[one.output] + short.sum((0, 1), dtype=np.float64)
    return Observed(
        {name: best_scale(histogram) for name, histogram in histograms.items() if name not in pooled},
        frozenset(pooled),
        {name: np.asarray(total / tokens, np.float32) for name, total in sums.items()},
    )
