"""The sentence encoder: an MPNet built from a spec, with pooling, projection and normalisation inside the module."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.layers import FIRST_POSITION, Embeddings, EncoderSpec, Layer, Projections

__all__ = ["FIRST_POSITION", "EncoderSpec", "Projections", "SentenceEncoder", "build", "unfilled"]


@dataclass(frozen=True)
class Inside:
    """What happens within one layer."""

    projections: Projections
    scores: Tensor | None  # (batch, heads, tokens, tokens) before the softmax over keys, when asked for


@dataclass(frozen=True)
class EncoderOutput:
    """What one forward pass yields."""

    last_hidden_state: Tensor  # (batch, tokens, hidden)
    sentence_embedding: Tensor  # (batch, embedding), L2-normalised, at least FP32
    hidden_states: tuple[Tensor, ...] = ()  # layers + 1 of (batch, tokens, hidden), when asked for
    inside: Mapping[int, Inside] = field(default_factory=dict)  # by layer, from 1 as in hidden_states, when asked for


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


class LayerStack(nn.Module):
    """The layers and the relative-position bias that they share."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(spec) for _ in range(spec.layers))
        self.relative_attention_bias = nn.Embedding(spec.relative_attention_buckets, spec.attention_heads)


class Transformer(nn.Module):
    """MPNet without pooler; its state_dict has the keys of transformers' MPNetModel."""

    buckets: Tensor

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.spec = spec
        self.embeddings = Embeddings(spec)
        self.encoder = LayerStack(spec)
        self.reach = spec.max_positions - FIRST_POSITION - 1  # longest distance between two tokens
        buckets = relative_position_buckets(self.reach, spec.relative_attention_buckets)
        self.register_buffer("buckets", buckets, persistent=False)

    def bias(self, attention_mask: Tensor) -> Tensor:
        """Relative-position bias plus padding mask, (batch, heads, tokens, tokens)."""
        place = torch.arange(attention_mask.shape[1], device=attention_mask.device)
        by_distance = self.encoder.relative_attention_bias(self.buckets)  # (2 * reach + 1, heads)
        relative = by_distance[place[None, :] - place[:, None] + self.reach].permute(2, 0, 1)  # (heads, tokens, tokens)
        hidden = (1.0 - attention_mask[:, None, None, :].to(relative.dtype)) * torch.finfo(relative.dtype).min
        return relative[None] + hidden

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, projections: Collection[int] = (), scores: Collection[int] = ()
    ) -> tuple[tuple[Tensor, ...], dict[int, Inside]]:
        bias = self.bias(attention_mask)
        states, inside = [self.embeddings(input_ids)], dict[int, Inside]()
        for number, layer in enumerate(self.encoder.layer, 1):
            projected = None
            if number in projections or number in scores:
                assert isinstance(layer, Layer)
                attention = layer.attention.attn
                projected = attention.project(states[-1])
                inside[number] = Inside(projected, attention.scores(projected, bias) if number in scores else None)
            states.append(layer(states[-1], bias, projected))
        return tuple(states), inside


class SentenceEncoder(nn.Module):
    """Token ids to an L2-normalised sentence embedding: transformer, masked mean, optional projection."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.spec = spec
        self.transformer = Transformer(spec)
        self.projection = nn.Linear(spec.hidden_size, spec.projection, bias=False) if spec.projection else None

    @property
    def dtype(self) -> torch.dtype:
        return self.transformer.embeddings.word_embeddings.weight.dtype

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        hidden_states: bool = False,
        projections: Collection[int] = (),
        scores: Collection[int] = (),
    ) -> EncoderOutput:
        """input_ids, attention_mask: (batch, tokens) int64, padded on the right.

        projections, scores: layers, from 1, of which `inside` holds queries, keys and values; or these with scores.
        """
        states, inside = self.transformer(input_ids, attention_mask, projections, scores)
        embedding = self.pool(states[-1], attention_mask)
        return EncoderOutput(states[-1], embedding, states if hidden_states else (), inside)

    def pool(self, last: Tensor, attention_mask: Tensor) -> Tensor:
        """Masked mean, projection, L2-normalisation: (batch, tokens, hidden) -> (batch, embedding), at least FP32."""
        wide = last.dtype if last.dtype == torch.float64 else torch.float32  # half precision loses the sum
        with torch.autocast(last.device.type, enabled=False):
            mask = attention_mask[:, :, None].to(wide)
            pooled = (last.to(wide) * mask).sum(1) / mask.sum(1).clamp(min=1e-9)  # (batch, hidden)
            if self.projection is not None:
                pooled = functional.linear(pooled, self.projection.weight.to(wide))  # (batch, embedding)
            return functional.normalize(pooled, dim=-1)


def unfilled(spec: EncoderSpec) -> SentenceEncoder:
    """The module without memory for its weights, to be filled by `load_state_dict(…, assign=True)`: costs nothing."""
    with torch.device("meta"):
        return SentenceEncoder(spec)


def build(spec: EncoderSpec) -> SentenceEncoder:
    """A freshly initialised encoder: normal(0, 0.02) matrices, zero biases, unit LayerNorms, zero relative bias."""
    encoder = SentenceEncoder(spec)
    for module in encoder.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.zeros_(encoder.transformer.encoder.relative_attention_bias.weight)
    return encoder
