"""Token-level outputs that student and teacher are compared by, and the layers they are taken from."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from core.model import EncoderOutput, Projections, SentenceEncoder


@dataclass(frozen=True)
class Layers:
    """Layers of one model, counted from 1, that each kind of term compares; empty: none."""

    hidden: tuple[int, ...] = ()
    attention: tuple[int, ...] = ()
    relations: tuple[int, ...] = ()  # one or none

    def only(self, terms: Collection[str]) -> Layers:
        """What is left for these loss terms."""
        return Layers(
            self.hidden if "hidden_mse" in terms else (),
            self.attention if "attention_kl" in terms or "attention_mse" in terms else (),
            self.relations if "relations" in terms else (),
        )

    def __bool__(self) -> bool:
        return bool(self.hidden or self.attention or self.relations)


@dataclass(frozen=True)
class LayerPlan:
    """The layers of both models, in the same order."""

    student: Layers
    teacher: Layers

    def only(self, terms: Collection[str]) -> LayerPlan:
        return LayerPlan(self.student.only(terms), self.teacher.only(terms))

    def __bool__(self) -> bool:
        return bool(self.student)


NO_LAYERS = Layers()
NO_PLAN = LayerPlan(NO_LAYERS, NO_LAYERS)


@dataclass(frozen=True)
class TokenStates:
    """Token-level outputs of one model, those asked for."""

    hidden: Tensor | None = None  # (layers, batch, tokens, dim)
    scores: Tensor | None = None  # (layers, batch, heads, tokens, tokens), before the softmax over keys
    projections: Projections | None = None  # (batch, tokens, width) each

    def to(self, device: torch.device) -> TokenStates:
        projections = self.projections
        return TokenStates(
            hidden=None if self.hidden is None else self.hidden.to(device),
            scores=None if self.scores is None else self.scores.to(device),
            projections=projections and Projections(*(part.to(device) for part in vars(projections).values())),
        )


def encode(
    encoder: SentenceEncoder, input_ids: Tensor, attention_mask: Tensor, layers: Layers
) -> tuple[EncoderOutput, TokenStates]:
    """One forward pass with the states of `layers`; input_ids, attention_mask: (batch, tokens)."""
    output = encoder(input_ids, attention_mask, bool(layers.hidden), layers.relations, layers.attention)
    scores = [output.inside[layer].scores for layer in layers.attention]
    states = TokenStates(
        hidden=torch.stack([output.hidden_states[layer] for layer in layers.hidden]) if layers.hidden else None,
        scores=torch.stack(scores) if scores else None,
        projections=output.inside[layers.relations[0]].projections if layers.relations else None,
    )
    return output, states
