"""What passes through the FP32 graph while it reads training texts: the ground of fixed scales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from core.activation_ranges import Scale
from core.errors import UserError
from core.tokenizer import pad
from export.int8.products import find_activations, find_products
from export.int8.ranges import Histogram, best_scale
from export.int8.sigmoid import approximation


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
    """Runs the ids of each text alone, so that no padding is counted; UserError without texts."""
    if not texts:
        raise UserError("fixed activation scales need texts to be measured on; give data.train some rows")
    entering = list(dict.fromkeys(product.states for product in find_products(model)))
    activations = find_activations(model)
    names = list(dict.fromkeys([*entering, *(part for one in activations for part in (one.given, one.output))]))
    session = _session(model, names)
    histograms = {name: Histogram() for name in entering}
    pooled: set[str] = set()
    sums: dict[str, NDArray[np.float64] | float] = {one.output: 0.0 for one in activations}
    for text in texts:
        ids, mask = pad([text])
        values = dict(zip(names, session.run(names, {"input_ids": ids, "attention_mask": mask}), strict=True))
        pooled |= {name for name in entering if values[name].ndim == 2}
        for name in entering:
            histograms[name].add(values[name])
        for one in activations:
            short = values[one.output] - approximation(values[one.given])  # (1, tokens, channels)
            sums[one.output] = sums[one.output] + short.sum((0, 1), dtype=np.float64)
    tokens = sum(map(len, texts))
    return Observed(
        {name: best_scale(histogram) for name, histogram in histograms.items() if name not in pooled},
        frozenset(pooled),
        {name: np.asarray(total / tokens, np.float32) for name, total in sums.items()},
    )


def _session(model: onnx.ModelProto, names: Sequence[str]) -> onnxruntime.InferenceSession:
    """The graph with these tensors as its outputs."""
    open_graph = onnx.ModelProto()
    open_graph.CopyFrom(model)
    del open_graph.graph.output[:]
    open_graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(open_graph.SerializeToString(), options, ["CPUExecutionProvider"])
