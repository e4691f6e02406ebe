"""The sentence encoder: an MPNet (or kin) built from a spec; pooling, projection, normalisation inside the module."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.architectures.body import Inside, Transformer, relative_position_buckets
from core.excerpt import Reading
from core.layers import FIRST_POSITION, EncoderSpec, Projections

__all__ = [
    "FIRST_POSITION",
    "EncoderSpec",
    "Projections",
    "SentenceEncoder",
    "build",
    "relative_position_buckets",
    "unfilled",
]


@dataclass(frozen=True)
class EncoderOutput:
    """What one forward pass yields."""

    last_hidden_state: Tensor  # (batch, tokens, hidden)
    sentence_embedding: Tensor  # (batch, embedding), L2-normalised, at least FP32
    hidden_states: tuple[Tensor, ...] = ()  # layers + 1 of (batch, tokens, hidden), when asked for
    inside: Mapping[int, Inside] = field(default_factory=dict)  # by layer, from 1 as in hidden_states, when asked for


class SentenceEncoder(nn.Module):
    """Token ids to an L2-normalised sentence embedding: excerpt if any, layers, masked mean, optional projection."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.spec = spec
        self.transformer = Transformer(spec)
        self.reading = Reading(spec.excerpt, spec.vocabulary_size) if spec.excerpt else None
        self.projection = nn.Linear(spec.hidden_size, spec.projection, bias=False) if spec.projection else None

    @property
    def dtype(self) -> torch.dtype:
        return self.transformer.embeddings.word_embeddings.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.transformer.embeddings.word_embeddings.weight.device

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
        if self.reading is not None:
            input_ids, attention_mask = self.reading(input_ids, attention_mask)
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
    """A freshly initialised encoder: normal(0, 0.02) matrices, zero biases, unit LayerNorms, zero relative bias.

    Depthwise filters keep torch's uniform ±1/√width: at 0.02 hardly anything of a neighbour would arrive.
    """
    encoder = SentenceEncoder(spec)
    for module in encoder.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
    relative = encoder.transformer.encoder.relative_attention_bias
    if relative is not None:
        nn.init.zeros_(relative.weight)
    return encoder
