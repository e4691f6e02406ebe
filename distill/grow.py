"""Grows a small encoder into a wider and deeper one that starts as (nearly) the same function.

Width: Net2Wider (Chen et al. 2016, arXiv 1511.05641) with every unit duplicated, so the function stays exact.
Depth: post-norm layers whose output projections are zero and whose LayerNorms put back the mean and the spread
that the hidden states have at that depth, so that each new layer is near the identity.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from core.heads import LinearHead
from core.layers import Layer
from core.model import EncoderSpec, SentenceEncoder, unfilled
from core.tokenizer import pad


def _outputs(matrix: Tensor, factor: int) -> Tensor:
    """Duplicates output units: (out, …) -> (factor * out, …)."""
    return torch.cat([matrix] * factor)


def _inputs(matrix: Tensor, factor: int) -> Tensor:
    """Duplicates input units and divides, so that the product stays: (out, in) -> (out, factor * in)."""
    return torch.cat([matrix] * factor, dim=1) / factor


def _head_outputs(matrix: Tensor, heads: int, factor: int) -> Tensor:
    """Duplicates output units inside each head: (heads * size, …) -> (heads * factor * size, …)."""
    return matrix.view(heads, -1, *matrix.shape[1:]).repeat(1, factor, *[1] * (matrix.dim() - 1)).flatten(0, 1)


def _head_inputs(matrix: Tensor, heads: int, factor: int) -> Tensor:
    """The same for inputs: (out, heads * size) -> (out, heads * factor * size)."""
    return _head_outputs(matrix.T.contiguous(), heads, factor).T / factor


def widen(encoder: SentenceEncoder, factor: int) -> SentenceEncoder:
    """The same function at `factor` times the width; head count stays, head size grows.

    Without a projection the embedding is the old one repeated, divided by sqrt(factor): all cosines stay.
    """
    old = encoder.spec
    spec = replace(old, hidden_size=old.hidden_size * factor, intermediate_size=old.intermediate_size * factor)
    scale = factor**-0.25  # q.k grows by factor, its scaling 1/sqrt(size) falls by sqrt(factor)
    state = {}
    for name, value in encoder.transformer.state_dict().items():
        kind = name.rsplit(".", 2)[-2]
        if kind in ("word_embeddings", "position_embeddings"):
            state[name] = torch.cat([value] * factor, dim=1)
        elif kind == "relative_attention_bias":
            state[name] = value.clone()  # assigned below: training the wide one must not change the narrow one
        elif name.endswith("bias") or kind == "LayerNorm":  # vectors
            wide = _head_outputs(value, old.attention_heads, factor) if kind in "qkv" else _outputs(value, factor)
            state[name] = wide * scale if kind in "qk" else wide
        elif kind in "qkv":
            wide = _head_outputs(_inputs(value, factor), old.attention_heads, factor)
            state[name] = wide if kind == "v" else wide * scale
        elif kind == "o":
            state[name] = _outputs(_head_inputs(value, old.attention_heads, factor), factor)
        else:  # feed-forward
            state[name] = _outputs(_inputs(value, factor), factor)
    wide_encoder = unfilled(spec)
    wide_encoder.transformer.load_state_dict(state, assign=True)
    if wide_encoder.projection is not None and encoder.projection is not None:
        weight = _inputs(encoder.projection.weight.detach(), factor)
        wide_encoder.projection.load_state_dict({"weight": weight}, assign=True)
    if wide_encoder.reading is not None and encoder.reading is not None:
        wide_encoder.reading.load_state_dict(copy.deepcopy(encoder.reading.state_dict()), assign=True)
    return wide_encoder


def widen_head(head: LinearHead, dimension: int) -> LinearHead:
    """The same logits from the embedding of a widened encoder: the old one repeated, divided by sqrt(factor)."""
    factor = dimension // head.dimension
    return LinearHead(np.tile(head.weight, factor) / np.float32(math.sqrt(factor)), head.bias)


def _near_identity(layer: Layer, mean: float, spread: float) -> Layer:
    """A copy of `layer` that adds nothing and whose LayerNorms restore the given statistics."""
    identity = copy.deepcopy(layer)
    for projection in (identity.attention.attn.o, identity.output.dense):
        torch.nn.init.zeros_(projection.weight)
        torch.nn.init.zeros_(projection.bias)
    for norm in (identity.attention.LayerNorm, identity.output.LayerNorm):
        torch.nn.init.constant_(norm.weight, spread)
        torch.nn.init.constant_(norm.bias, mean)
    return identity


def _inserted(encoder: SentenceEncoder, depth: int, count: int, hidden: Tensor) -> SentenceEncoder:
    """The encoder with `count` near-identity layers behind layer `depth`, whose output tokens are (tokens, hidden)."""
    mean, spread = float(hidden.mean(1).mean()), float(hidden.std(1, unbiased=False).mean())
    layers = list(encoder.transformer.encoder.layer)
    below = layers[depth - 1]
    assert isinstance(below, Layer)
    extra = [_near_identity(below, mean, spread) for _ in range(count)]
    deep = unfilled(replace(encoder.spec, layers=len(layers) + count))
    deep.load_state_dict(encoder.state_dict(), strict=False, assign=True)
    deep.transformer.encoder.layer = torch.nn.ModuleList([*layers[:depth], *extra, *layers[depth:]])
    return deep.eval()


@torch.no_grad()
def deepen(encoder: SentenceEncoder, layers: int, sample: Sequence[Sequence[int]]) -> SentenceEncoder:
    """Inserts near-identity layers at the one depth where they disturb the sample's embeddings least.

    All at one depth, because a second normalisation to the same statistics changes nothing more: measured on MiniLM,
    six behind layer 4 keep the similarities at a correlation of 0.995, one at each depth at 0.91.

    sample: token ids of some texts, on which the statistics of each depth are taken.
    """
    if encoder.spec.layers < 2:
        raise ValueError("an encoder of one layer has no place for another before its last")
    ids, mask = (torch.from_numpy(array) for array in pad(sample))
    if encoder.reading is not None:
        ids, mask = encoder.reading(ids, mask)  # what its layers see
    before = encoder.eval()(ids, mask, hidden_states=True)
    best, best_cosine = encoder, -1.0
    for depth in range(1, encoder.spec.layers):  # never behind the last layer, whose spread varies most
        hidden = before.hidden_states[depth][mask.bool()]
        candidate = _inserted(encoder, depth, layers - encoder.spec.layers, hidden)
        after = candidate(ids, mask).sentence_embedding
        cosine = float((after * before.sentence_embedding).sum(1).mean())
        if cosine > best_cosine:
            best, best_cosine = candidate, cosine
    return best


@torch.no_grad()
def break_symmetry(encoder: SentenceEncoder, noise: float, seed: int) -> None:
    """Adds normal noise of `noise` times each matrix' own standard deviation, in place: equal twins learn alike."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in encoder.parameters():
        if parameter.dim() == 2:
            step = torch.randn(parameter.shape, generator=generator)
            parameter.add_(step, alpha=noise * float(parameter.std()))


def grow(
    encoder: SentenceEncoder, spec: EncoderSpec, noise: float, sample: Sequence[Sequence[int]], seed: int
) -> SentenceEncoder:
    """An encoder of `spec`'s width and depth (a multiple of the width, at least as deep) that starts as `encoder`."""
    deep = deepen(encoder, spec.layers, sample) if spec.layers > encoder.spec.layers else encoder
    grown = widen(deep, spec.hidden_size // encoder.spec.hidden_size)
    break_symmetry(grown, noise, seed)
    return grown
