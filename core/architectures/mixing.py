"""A post-norm layer of the transformer's form whose tokens are mixed by something else than softmax attention."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from core.architectures.convolution import SeparableConvolution
from core.architectures.linear_attention import LinearAttention
from core.layers import Dense, EncoderSpec, FeedForwardOutput, Projections


class MixingLayer(nn.Module):
    """Mixer in attention's place, residual LayerNorm, feed-forward, residual LayerNorm."""

    def __init__(self, spec: EncoderSpec, mixer: SeparableConvolution | LinearAttention) -> None:
        super().__init__()
        self.mixer = mixer
        self.LayerNorm = nn.LayerNorm(spec.hidden_size, eps=spec.layer_norm_eps)
        self.dropout = nn.Dropout(spec.dropout)
        self.intermediate = Dense(spec.hidden_size, spec.intermediate_of(1))
        self.output = FeedForwardOutput(spec)

    def forward(self, hidden: Tensor, attention_mask: Tensor, projections: Projections | None = None) -> Tensor:
        """hidden: (batch, tokens, hidden); attention_mask: (batch, tokens); projections: those of `hidden`."""
        if isinstance(self.mixer, LinearAttention):
            mixed = self.mixer(hidden, attention_mask, projections)
        else:
            mixed = self.mixer(hidden, attention_mask)
        normed = self.LayerNorm(hidden + self.dropout(mixed))  # (batch, tokens, hidden)
        return self.output(functional.gelu(self.intermediate.dense(normed)), normed)
