"""Layers, heads and neurons physically taken out: a smaller encoder with its own spec, never a masked one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from core.errors import UserError
from core.model import EncoderSpec, SentenceEncoder, unfilled

STACK = "transformer.encoder.layer."


def refuse_other_architectures(spec: EncoderSpec) -> None:
    """UserError for encoders whose layers are no MPNet's."""
    if spec.architecture != "mpnet":
        raise UserError(
            f"layers, heads, neurons and hidden width are cut off MPNets, and this is a {spec.architecture} encoder:"
            " leave these at 0 (pruning.weights.method=magnitude works on any)"
        )


def keep_layers(encoder: SentenceEncoder, kept: Sequence[int]) -> SentenceEncoder:
    """The encoder with these layers alone, from 0, rising; the weights are shared with the original's."""
    spec, state = encoder.spec, dict(encoder.state_dict())
    left = {name: value for name, value in state.items() if not name.startswith(STACK)}
    for new, old in enumerate(kept):
        left |= {f"{STACK}{new}.{name}": value for name, value in _of_layer(state, old).items()}
    heads, widths = _shape(spec)
    return _filled(spec.with_layers([heads[old] for old in kept], [widths[old] for old in kept]), left)


def keep_heads(encoder: SentenceEncoder, kept: Sequence[Sequence[int]]) -> SentenceEncoder:
    """The encoder with these heads of each layer, by their place in the layer, from 0, rising; one or more in each."""
    spec, state, size = encoder.spec, dict(encoder.state_dict()), encoder.spec.size_of_head
    heads, widths = _shape(spec)
    for layer, places in enumerate(kept):
        if len(places) == len(heads[layer]):
            continue
        rows = torch.tensor([place * size + offset for place in places for offset in range(size)])
        prefix = f"{STACK}{layer}.attention.attn."
        for name in ("q.weight", "q.bias", "k.weight", "k.bias", "v.weight", "v.bias"):
            state[prefix + name] = state[prefix + name][rows]
        state[prefix + "o.weight"] = state[prefix + "o.weight"][:, rows]
        heads[layer] = tuple(heads[layer][place] for place in places)
    return _filled(spec.with_layers(heads, widths), state)


def keep_neurons(encoder: SentenceEncoder, kept: Sequence[Sequence[int]]) -> SentenceEncoder:
    """The encoder with these feed-forward neurons of each layer, from 0, rising; one or more in each."""
    spec, state = encoder.spec, dict(encoder.state_dict())
    heads, widths = _shape(spec)
    for layer, neurons in enumerate(kept):
        if len(neurons) == widths[layer]:
            continue
        rows, prefix = torch.tensor(neurons), f"{STACK}{layer}."
        for name in ("intermediate.dense.weight", "intermediate.dense.bias"):
            state[prefix + name] = state[prefix + name][rows]
        state[prefix + "output.dense.weight"] = state[prefix + "output.dense.weight"][:, rows]
    return _filled(spec.with_layers(heads, [len(neurons) for neurons in kept]), state)


def _shape(spec: EncoderSpec) -> tuple[list[tuple[int, ...]], list[int]]:
    """Heads and feed-forward width of every layer."""
    numbers = range(1, spec.layers + 1)
    return [spec.heads_of(number) for number in numbers], [spec.intermediate_of(number) for number in numbers]


def _of_layer(state: Mapping[str, Tensor], layer: int) -> dict[str, Tensor]:
    prefix = f"{STACK}{layer}."
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _filled(spec: EncoderSpec, state: Mapping[str, Tensor]) -> SentenceEncoder:
    encoder = unfilled(spec)
    encoder.load_state_dict(state, assign=True)
    return encoder.eval()
