"""The sentence encoder: an MPNet built from a spec, with pooling, projection and normalisation inside the module."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

FIRST_POSITION = 2  # MPNet counts positions from padding_idx + 1, as RoBERTa does


@dataclass(frozen=True)
class EncoderSpec:
    """Everything needed to rebuild an encoder; sizes in units, most named as in transformers' MPNetConfig."""

    layers: int
    hidden_size: int
    attention_heads: int
    intermediate_size: int
    vocabulary_size: int = 30527
    max_positions: int = 514
    relative_attention_buckets: int = 32
    layer_norm_eps: float = 1e-5
    dropout: float = 0.1
    projection: int | None = None
    """Width of the sentence embedding when a linear map follows the pooling; None: hidden_size."""

    @property
    def embedding_size(self) -> int:
        return self.projection or self.hidden_size


@dataclass(frozen=True)
class EncoderOutput:
    """What one forward pass yields."""

    last_hidden_state: Tensor  # (batch, tokens, hidden)
    sentence_embedding: Tensor  # (batch, embedding), L2-normalised, at least FP32
    hidden_states: tuple[Tensor, ...] = ()  # layers + 1 of (batch, tokens, hidden), when asked for


class SelfAttention(nn.Module):
    """Multi-head attention with MPNet's additive relative-position bias; parameter names as in transformers."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.heads = spec.attention_heads
        self.head_size = spec.hidden_size // spec.attention_heads
        width = self.heads * self.head_size
        self.q = nn.Linear(spec.hidden_size, width)
        self.k = nn.Linear(spec.hidden_size, width)
        self.v = nn.Linear(spec.hidden_size, width)
        self.o = nn.Linear(width, spec.hidden_size)
        self.dropout = spec.dropout

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        batch, tokens, _ = hidden.shape

        def split(projected: Tensor) -> Tensor:  # (batch, tokens, heads * size) -> (batch, heads, tokens, size)
            return projected.view(batch, tokens, self.heads, self.head_size).transpose(1, 2)

        query, key, value = split(self.q(hidden)), split(self.k(hidden)), split(self.v(hidden))
        if torch.jit.is_tracing():  # plain operators: the exporter writes the fused one with shape arithmetic around it
            scores = (query * self.head_size**-0.5) @ key.transpose(-1, -2) + bias  # (batch, heads, tokens, tokens)
            mixed = torch.softmax(scores, dim=-1) @ value
        else:
            dropout = self.dropout if self.training else 0.0
            mixed = functional.scaled_dot_product_attention(query, key, value, bias.to(query.dtype), dropout)
        return self.o(mixed.transpose(1, 2).reshape(batch, tokens, self.heads * self.head_size))


class Attention(nn.Module):
    """Self-attention with its residual LayerNorm (post-norm)."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.attn = SelfAttention(spec)
        self.LayerNorm = nn.LayerNorm(spec.hidden_size, eps=spec.layer_norm_eps)
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        return self.LayerNorm(hidden + self.dropout(self.attn(hidden, bias)))


class Dense(nn.Module):
    """A linear layer under the name `dense`, as transformers stores it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, outputs)


class FeedForwardOutput(Dense):
    """The second feed-forward matrix with its residual LayerNorm."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__(spec.intermediate_size, spec.hidden_size)
        self.LayerNorm = nn.LayerNorm(spec.hidden_size, eps=spec.layer_norm_eps)
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, inner: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(residual + self.dropout(self.dense(inner)))


class Layer(nn.Module):
    """One post-norm transformer layer."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.attention = Attention(spec)
        self.intermediate = Dense(spec.hidden_size, spec.intermediate_size)
        self.output = FeedForwardOutput(spec)

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        attended = self.attention(hidden, bias)
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

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        bias = self.bias(attention_mask)
        states = [self.embeddings(input_ids)]
        for layer in self.encoder.layer:
            states.append(layer(states[-1], bias))
        return tuple(states)


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

    def forward(self, input_ids: Tensor, attention_mask: Tensor, hidden_states: bool = False) -> EncoderOutput:
        """input_ids, attention_mask: (batch, tokens) int64, padded on the right."""
        states = self.transformer(input_ids, attention_mask)
        return EncoderOutput(states[-1], self.pool(states[-1], attention_mask), states if hidden_states else ())

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
