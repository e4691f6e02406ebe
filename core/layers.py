"""The layers of an MPNet; parameter names as in transformers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.spec import FIRST_POSITION, EncoderSpec


@dataclass(frozen=True)
class Projections:
    """Queries, keys and values of one layer, all heads side by side; (batch, tokens, heads * head size) each."""

    query: Tensor
    key: Tensor
    value: Tensor


def narrowed(values: Tensor) -> Tensor:
    """In the type that autocast multiplies in, where it is on: converted once, not by every product that takes it."""
    kind = values.device.type
    return values.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else values


class MultiHead(nn.Module):
    """What every kind of attention here projects with; parameter names as in transformers' MPNet."""

    def __init__(self, spec: EncoderSpec) -> None:
        """spec: of this layer alone, as `EncoderSpec.single` gives it; so in all classes here."""
        super().__init__()
        self.heads = len(spec.heads_of(1))
        self.head_size = spec.size_of_head
        width = self.heads * self.head_size
        self.q = nn.Linear(spec.hidden_size, width)
        self.k = nn.Linear(spec.hidden_size, width)
        self.v = nn.Linear(spec.hidden_size, width)
        self.o = nn.Linear(width, spec.hidden_size)

    def project(self, hidden: Tensor) -> Projections:
        """hidden: (batch, tokens, hidden)."""
        hidden = narrowed(hidden)
        return Projections(self.q(hidden), self.k(hidden), self.v(hidden))

    def _split(self, projected: Tensor, batch: int, tokens: int) -> Tensor:
        """(batch, tokens, heads * size) -> (batch, heads, tokens, size)."""
        return projected.view(batch, tokens, self.heads, self.head_size).transpose(1, 2)

    def _joined(self, mixed: Tensor, batch: int, tokens: int) -> Tensor:
        """(batch, heads, tokens, size) -> (batch, tokens, hidden), through the output projection."""
        projected: Tensor = self.o(mixed.transpose(1, 2).reshape(batch, tokens, self.heads * self.head_size))
        return projected


class SelfAttention(MultiHead):
    """Multi-head attention with MPNet's additive relative-position bias.

    All layers share the bias; where heads were cut off, a layer takes the columns of those that it has left.
    """

    places: Tensor | None

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__(spec)
        self.dropout = spec.dropout
        # On the CPU, so that they are real even where `unfilled` builds; no state holds them.
        left = torch.tensor(spec.heads_of(1), device="cpu") if self.heads < spec.attention_heads else None
        self.register_buffer("places", left, persistent=False)

    def own(self, bias: Tensor) -> Tensor:
        """This layer's slice of the shared bias: (batch, shared heads, …) -> (batch, heads, …)."""
        return bias if self.places is None else bias.index_select(1, self.places)

    def _scores(self, query: Tensor, key: Tensor, bias: Tensor) -> Tensor:
        return (query * self.head_size**-0.5) @ key.transpose(-1, -2) + bias

    def scores(self, projections: Projections, bias: Tensor) -> Tensor:
        """What the softmax over keys is taken of: (batch, heads, tokens, tokens)."""
        batch, tokens, _ = projections.query.shape
        query, key = (self._split(part, batch, tokens) for part in (projections.query, projections.key))
        return self._scores(query, key, self.own(bias))

    def forward(self, hidden: Tensor, bias: Tensor, projections: Projections | None = None) -> Tensor:
        """projections: those of `hidden`, where the caller already has them."""
        batch, tokens, _ = hidden.shape
        given = projections or self.project(hidden)
        query, key, value = (self._split(part, batch, tokens) for part in (given.query, given.key, given.value))
        dropout, bias = self.dropout if self.training else 0.0, self.own(bias)
        if torch.jit.is_tracing():  # plain operators: the exporter writes the fused one with shape arithmetic around it
            mixed = torch.softmax(self._scores(query, key, bias), dim=-1) @ value
        elif bias.requires_grad and not bias.is_cuda:
            # The fused one trains no bias on a CPU, and what torch then falls back to widens BF16 to FP32.
            shares = torch.softmax(self._scores(query, key, bias.to(query.dtype)), dim=-1)
            mixed = functional.dropout(shares, dropout) @ value
        else:
            mixed = functional.scaled_dot_product_attention(query, key, value, bias.to(query.dtype), dropout)
        return self._joined(mixed, batch, tokens)


class Attention(nn.Module):
    """Self-attention with its residual LayerNorm (post-norm)."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.attn = SelfAttention(spec)
        self.LayerNorm = nn.LayerNorm(spec.hidden_size, eps=spec.layer_norm_eps)
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, hidden: Tensor, bias: Tensor, projections: Projections | None = None) -> Tensor:
        return self.LayerNorm(hidden + self.dropout(self.attn(hidden, bias, projections)))


class Dense(nn.Module):
    """A linear layer under the name `dense`, as transformers stores it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, outputs)


class FeedForwardOutput(Dense):
    """The second feed-forward matrix with its residual LayerNorm."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__(spec.intermediate_of(1), spec.hidden_size)
        self.LayerNorm = nn.LayerNorm(spec.hidden_size, eps=spec.layer_norm_eps)
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, inner: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(residual + self.dropout(self.dense(inner)))


class Layer(nn.Module):
    """One post-norm transformer layer."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.attention = Attention(spec)
        self.intermediate = Dense(spec.hidden_size, spec.intermediate_of(1))
        self.output = FeedForwardOutput(spec)

    def forward(self, hidden: Tensor, bias: Tensor, projections: Projections | None = None) -> Tensor:
        attended = self.attention(hidden, bias, projections)
        return self.output(functional.gelu(self.intermediate.dense(attended)), attended)


class Embeddings(nn.Module):
    """Word and position embeddings."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(spec.vocabulary_size, spec.hidden_size, padding_idx=1)
        self.position_embeddings = nn.Embedding(spec.max_positions, spec.hidden_size, padding_idx=1)
        self.LayerNorm = nn.LayerNorm(spec.hidden_size, eps=spec.layer_norm_eps)
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, input_ids: Tensor) -> Tensor:
        positions = self.position_embeddings.weight[FIRST_POSITION : FIRST_POSITION + input_ids.shape[1]]
        return self.dropout(self.LayerNorm(self.word_embeddings(input_ids) + positions))
