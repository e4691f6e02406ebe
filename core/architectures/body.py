"""Embeddings and layers of every architecture, and what happens inside them; the mixing of tokens is chosen here."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.architectures import attending
from core.architectures.convolution import SeparableConvolution
from core.architectures.linear_attention import LinearAttention
from core.architectures.mixing import MixingLayer
from core.architectures.static import StaticEmbeddings
from core.errors import UserError
from core.layers import FIRST_POSITION, Embeddings, EncoderSpec, Layer, Projections, narrowed


@dataclass(frozen=True)
class Inside:
    """What happens within one layer."""

    projections: Projections
    scores: Tensor | None  # (batch, heads, tokens, tokens) before the softmax over keys, when asked for


def relative_position_buckets(reach: int, buckets: int, max_distance: int = 128) -> Tensor:
    """T5's logarithmic buckets (Raffel et al. 2020, as MPNet uses them) of the distances -reach … +reach.

    Returns (2 * reach + 1,) int64; entry `reach + d` is the bucket of a key d places after its query.
    """
    distance = -torch.arange(-reach, reach + 1, device="cpu")  # real even where `unfilled` builds
    half = buckets // 2
    exact = half // 2
    size = distance.abs()
    far = exact + (
        torch.log(size.clamp(min=1).float() / exact) / math.log(max_distance / exact) * (half - exact)
    ).long().clamp(max=half - exact - 1)
    return (distance < 0).long() * half + torch.where(size < exact, size, far)


def _layer(spec: EncoderSpec, number: int) -> Layer | MixingLayer:
    """Layer `number`, from 1."""
    own = spec.single(number)
    if spec.architecture == "linear_attention":
        return MixingLayer(own, LinearAttention(own))
    if number in attending(spec.architecture, spec.layers):
        return Layer(own)
    return MixingLayer(own, SeparableConvolution(own))


class LayerStack(nn.Module):
    """The layers and, where some have softmax attention, the relative-position bias that these share."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.layer = nn.ModuleList(_layer(spec, number) for number in range(1, spec.layers + 1))
        biased = spec.architecture in ("mpnet", "hybrid")
        shape = (spec.relative_attention_buckets, spec.attention_heads)
        self.relative_attention_bias = nn.Embedding(*shape) if biased else None


class Transformer(nn.Module):
    """Embeddings and layers; the state_dict of an MPNet has the keys of transformers' MPNetModel without pooler."""

    buckets: Tensor

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.spec = spec
        self.embeddings = StaticEmbeddings(spec) if spec.architecture == "static" else Embeddings(spec)
        self.encoder = LayerStack(spec)
        self.reach = spec.max_positions - FIRST_POSITION - 1  # longest distance between two tokens
        buckets = relative_position_buckets(self.reach, spec.relative_attention_buckets)
        self.register_buffer("buckets", buckets, persistent=False)

    def bias(self, attention_mask: Tensor) -> Tensor:
        """Padding mask and relative bias, (batch, heads, tokens, tokens), or alone, (batch, 1, 1, tokens)."""
        dtype = self.embeddings.word_embeddings.weight.dtype
        hidden = (1.0 - attention_mask[:, None, None, :].to(dtype)) * torch.finfo(dtype).min
        if self.encoder.relative_attention_bias is None:
            return hidden
        place = torch.arange(attention_mask.shape[1], device=attention_mask.device)
        by_distance = self.encoder.relative_attention_bias(self.buckets)  # (2 * reach + 1, heads)
        relative = by_distance[place[None, :] - place[:, None] + self.reach].permute(2, 0, 1)  # (heads, tokens, tokens)
        return relative[None] + hidden

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, projections: Collection[int] = (), scores: Collection[int] = ()
    ) -> tuple[tuple[Tensor, ...], dict[int, Inside]]:
        bias = self.bias(attention_mask)
        shared = narrowed(bias)
        states, inside = [self.embeddings(input_ids)], dict[int, Inside]()
        for number, layer in enumerate(self.encoder.layer, 1):
            assert isinstance(layer, Layer | MixingLayer)
            projected = None
            if number in projections or number in scores:
                attention = layer.attention.attn if isinstance(layer, Layer) else layer.mixer
                if isinstance(attention, SeparableConvolution):  # of a student: the configuration was refused already
                    raise UserError(
                        f"layer {number} of a {self.spec.architecture} encoder is a convolution and has no attention:"
                        " choose other layers for losses.relations and losses.attention_*, or set these to 0"
                    )
                projected = attention.project(states[-1])
                inside[number] = Inside(projected, attention.scores(projected, bias) if number in scores else None)
            where = shared if isinstance(layer, Layer) else attention_mask
            states.append(layer(states[-1], where, projected))
        return tuple(states), inside
