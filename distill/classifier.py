"""Encoder and linear heads as one trainable module."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from core.heads import LinearHead
from core.model import SentenceEncoder
from core.rows import Taxonomy
from distill.token_states import NO_LAYERS, Layers, TokenStates, encode


@dataclass(frozen=True)
class Logits:
    """Raw scores of the three heads."""

    binary: Tensor  # (batch,): the attack logit
    family: Tensor  # (batch, families)
    subfamily: Tensor  # (batch, sub-families)


class TorchHeads(nn.Module):
    """Binary, family and sub-family heads on the sentence embedding.

    The embedding has length 1; it is scaled to unit variance first, so that weights of ordinary size separate.
    The scale is folded into the weights where the heads leave training.
    """

    def __init__(self, dimension: int, taxonomy: Taxonomy) -> None:
        super().__init__()
        self.scale = dimension**0.5
        self.binary = nn.Linear(dimension, 1)
        self.family = nn.Linear(dimension, len(taxonomy.families))
        self.subfamily = nn.Linear(dimension, len(taxonomy.subfamilies))
        for head in (self.binary, self.family, self.subfamily):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def forward(self, embedding: Tensor) -> Logits:
        """embedding: (batch, dim), L2-normalised."""
        with torch.autocast(embedding.device.type, enabled=False):
            scaled = embedding.float() * self.scale
            return Logits(self.binary(scaled)[:, 0], self.family(scaled), self.subfamily(scaled))

    @torch.no_grad()
    def to_linear(self) -> dict[str, LinearHead]:
        """The heads on the unscaled embedding."""
        return {
            name: LinearHead((head.weight * self.scale).float().numpy().copy(), head.bias.float().numpy().copy())
            for name, head in self.named_children()
            if isinstance(head, nn.Linear)
        }

    @torch.no_grad()
    def load_linear(self, heads: dict[str, LinearHead]) -> None:
        """The inverse of `to_linear`."""
        for name, head in heads.items():
            layer = self.get_submodule(name)
            assert isinstance(layer, nn.Linear)
            layer.weight.copy_(torch.from_numpy(head.weight) / self.scale)
            layer.bias.copy_(torch.from_numpy(head.bias))


@dataclass(frozen=True)
class ClassifierOutput:
    """One forward pass of encoder and heads."""

    embedding: Tensor  # (batch, dim)
    logits: Logits
    tokens: TokenStates  # those asked for, hidden states mapped to the teacher's width


class SentenceClassifier(nn.Module):
    """What the trainer trains; with `teacher_width` also a learned map of hidden states to that width."""

    def __init__(self, encoder: SentenceEncoder, heads: TorchHeads, teacher_width: int | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = heads
        self.hidden_map = nn.Linear(encoder.spec.hidden_size, teacher_width) if teacher_width else None

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, layers: Layers = NO_LAYERS, detached: Collection[str] = ()
    ) -> ClassifierOutput:
        """input_ids, attention_mask: (batch, tokens); layers: of which token-level states are asked for.

        detached: "embedding", "logits", where these are to have no gradient.
        """
        output, states = encode(self.encoder, input_ids, attention_mask, layers)
        if states.hidden is not None and self.hidden_map is not None:
            states = replace(states, hidden=self.hidden_map(states.hidden))
        embedding = output.sentence_embedding
        with torch.set_grad_enabled(torch.is_grad_enabled() and "logits" not in detached):
            logits = self.heads(embedding)
        return ClassifierOutput(embedding.detach() if "embedding" in detached else embedding, logits, states)
