"""Scales of activations that a training with rounded activations fixed, in place of those that texts have shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypedDict

import onnx

from core.activation_ranges import Scale
from export.int8.observe import Observed
from export.int8.products import find_products

PARTS = {
    "attention queries": "attention.attn.q",
    "attention keys": "attention.attn.k",
    "attention values": "attention.attn.v",
    "attention out": "attention.attn.o",
    "inner": "intermediate.dense",
    "outer": "output.dense",
}
"""Names in the graph that `export.mpnet` writes and in the module."""


class Stored(TypedDict):
    """A scale as the manifest of a checkpoint has it, under `activation_scales`."""

    scale: float
    zero_point: int


def as_trained(model: onnx.ModelProto, observed: Observed, stored: Mapping[str, Stored]) -> Observed:
    """stored: by the name of the layer in the encoder. Products whose names tell no layer keep what was observed.

    The model must not be centred: it was trained as it is.
    """
    scales = dict(observed.scales)
    for product in find_products(model):
        found = stored.get(_layer(product.weight))
        if found and product.states in scales:  # queries, keys and values have seen the same
            scales[product.states] = Scale(float(found["scale"]), int(found["zero_point"]))
    return replace(observed, scales=scales)


def _layer(weight: str) -> str:
    """`layer 0 inner weight` -> `transformer.encoder.layer.0.intermediate.dense`; what is no such name stays."""
    words = weight.split(" ")
    part = PARTS.get(" ".join(words[2:-1]))
    return f"transformer.encoder.layer.{words[1]}.{part}" if part else weight
