"""What stands around the model: triggers, attack clusters, decoded views, and what decides before it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from core.schema.base import Count, Rate, Section

SURE = ("careful", "balanced", "eager")


class Triggers(Section):
    """What `distill.fit_triggers` learns from the training rows."""

    minimum_attacks: Count = 10
    """Training attacks that a trigger must stand in."""
    minimum_precision: Rate = 0.95
    """Share of attacks among the training texts with a trigger, at least; validation drops those below 0.8 there."""
    most: Count = 300
    """Triggers kept; each is chosen for the attacks in which few others stand."""
    clusters: Annotated[int, Field(ge=0, le=1000)] = 256
    """Attack clusters, for `similar_attacks`; 0 writes none."""
    clustered: Count = 4000
    """Training attacks that are clustered, drawn with the seed: of each the embedding is computed."""
    rules: Annotated[int, Field(ge=0)] = 6000
    """Words, pairs and patterns (`first … second`) with a weight in the first layer; 0 writes none."""
    folds: Annotated[int, Field(ge=2)] = 5
    """Parts of the training rows, near-duplicates together, for the log-odds on which its settings are chosen."""
    misses: tuple[Rate, Rate, Rate] = (0.005, 0.01, 0.02)
    """Share of the attacks that the first layer may call benign there: settings careful, balanced, eager …"""
    alarms: tuple[Rate, Rate, Rate] = (0.0005, 0.001, 0.002)
    """… and share of the benign texts that it may call attacks."""

    @model_validator(mode="after")
    def _rising(self) -> Triggers:
        for name in ("misses", "alarms"):
            if sorted(shares := getattr(self, name)) != list(shares):
                raise ValueError(f"`{name}` goes from careful to eager and must rise: {list(shares)} does not")
        return self


class Serving(Section):
    """How `distill.fit_triggers` has the checkpoint served; the manifest states it, exports inherit it."""

    decode: Literal["beside", "instead"] | None = None
    """Whether a text's decoded view (base64, rot13, leet …) is scored too. beside: the higher score counts; instead:
    the view's alone, so that no benign text is suspect for being encoded."""
    decoded_limit: Rate = 0.5
    """Attack probability from which a decoded view is an attack; lower ones catch more of what is encoded."""
    first_layer: Literal["careful", "balanced", "eager"] | None = None
    """How sure the keywords must be to decide without the model; null: the model sees every text. They read 1,200
    characters and call no longer text benign, nor one with a decoded view; of one that is read `instead` they decide
    nothing."""
    max_length: Annotated[int, Field(ge=8, le=512)] | None = None
    """With `distill.fit_heads`: tokens that a PyTorch checkpoint reads from now on; null: as many as before."""


class Cascade(Section):
    """What `eval.cascade` tries besides the settings of a checkpoint's first layer."""

    misses: Annotated[tuple[Rate, ...], Field(min_length=1)] = (0.002, 0.005, 0.01)
    """`evaluation.peers`, one model before the checkpoint: share of the attacks that it may call benign …"""
    alarms: Annotated[tuple[Rate, ...], Field(min_length=1)] = (0.0005, 0.001, 0.002)
    """… and share of the benign texts that it may call attacks, on validation; a setting for each pair."""
    mean_ms: Annotated[float, Field(gt=0.0)] = 2.0
    """Mean latency over the texts of the split that a setting must stay below, milliseconds …"""
    f1_loss: Rate = 0.005
    """… and F1 that it may lose against the model alone: the paired interval must end below it."""

    @model_validator(mode="after")
    def _in_pairs(self) -> Cascade:
        if len(self.misses) != len(self.alarms):
            raise ValueError(
                f"`misses` has {len(self.misses)} values, `alarms` {len(self.alarms)}: each setting takes one of both"
            )
        return self
