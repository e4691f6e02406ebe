"""The kinds of encoder, and which of their layers attend; no torch, so that a configuration can ask."""

from __future__ import annotations

from typing import Literal, get_args

Architecture = Literal["mpnet", "static", "convolution", "hybrid", "linear_attention"]
ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)


def attending(architecture: Architecture, layers: int) -> tuple[int, ...]:
    """The layers, from 1, that have queries, keys, values and an attention map, of an encoder of so many layers."""
    match architecture:
        case "static" | "convolution":
            return ()
        case "hybrid":  # in pairs: a convolution sees what is near, then attention what is far
            return tuple(range(2, layers + 1, 2))
        case "mpnet" | "linear_attention":
            return tuple(range(1, layers + 1))
