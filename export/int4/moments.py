"""Mean and covariance of what enters each product of a graph."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import torch

from core.moments import Moments, Sums
from export.int8.products import find_products
from export.int8.watch import watch


def measure(model: onnx.ModelProto, texts: Sequence[Sequence[int]]) -> dict[str, Moments]:
    """By the name of the states, over every token of the texts (their ids), or every text where it is pooled."""
    names = list(dict.fromkeys(product.states for product in find_products(model)))
    sums = {name: Sums() for name in names}
    for values in watch(model, names, texts):
        for name in names:
            sums[name].add(torch.from_numpy(values[name].reshape(-1, values[name].shape[-1])))
    return {name: one.moments() for name, one in sums.items()}
