"""How far what stands behind each layer of a rounded graph is from the FP32 graph's, text by text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from core.encoder import EMBEDDING_OUTPUT
from core.errors import UserError
from export.int8.watch import watch

Values = NDArray[np.float32]


@dataclass(frozen=True)
class LayerError:
    """Of one tensor, with all errors of what lies before it."""

    name: str
    relative: NDArray[np.float64]
    """(texts,): size of the error over size of the signal; squared it is the inverse of the SQNR."""
    cosine: NDArray[np.float64]
    """(texts,): of all the text's values together."""


def measure(exact: onnx.ModelProto, rounded: onnx.ModelProto, texts: Sequence[Sequence[int]]) -> list[LayerError]:
    """Of every layer normalisation in the order of the graph, and of the embedding.

    exact: the FP32 graph that `rounded` was made from, centred where that was; texts: two or more, as ids.
    A channel's mean over all tokens is taken off before the signal is measured: in MPNet and MiniLM one channel is near
    30 whatever the text says, and would make every error look small.
    """
    if len(texts) < 2:
        raise UserError(
            f"the error of layers is measured on what differs between texts: give two or more, not {len(texts)}"
        )
    names = [node.output[0] for node in exact.graph.node if node.op_type == "LayerNormalization"]
    names.append(EMBEDDING_OUTPUT)
    middles = _means(exact, names, texts)
    relative: dict[str, list[float]] = {name: [] for name in names}
    cosine: dict[str, list[float]] = {name: [] for name in names}
    for true, found in zip(watch(exact, names, texts), watch(rounded, names, texts), strict=True):
        for name in names:
            signal, other = true[name] - middles[name], found[name] - middles[name]
            size, length = float(np.linalg.norm(signal)), float(np.linalg.norm(other))
            relative[name].append(float(np.linalg.norm(other - signal)) / size)
            cosine[name].append(float((signal * other).sum()) / (size * length))
    return [LayerError(name, np.array(relative[name]), np.array(cosine[name])) for name in names]


def _means(model: onnx.ModelProto, names: Sequence[str], texts: Sequence[Sequence[int]]) -> dict[str, Values]:
    """(channels,) of each tensor, over every token of the texts."""
    sums: dict[str, NDArray[np.float64]] = {name: np.zeros(()) for name in names}
    rows = dict.fromkeys(names, 0)
    for values in watch(model, names, texts):
        for name in names:
            flat = values[name].reshape(-1, values[name].shape[-1])
            sums[name], rows[name] = sums[name] + flat.sum(0, dtype=np.float64), rows[name] + len(flat)
    return {name: (sums[name] / rows[name]).astype(np.float32) for name in names}
