"""A model with a layer before it, at several settings, against the model alone: what `cascade.json` holds."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from eval.schema.accuracy import Accuracy
from eval.schema.base import Interval, Model, Value, agree
from eval.schema.comparison import Change
from eval.schema.costs import Noise, Percentiles
from eval.schema.race import Ratio
from eval.schema.report import Hardware, Stamp, Word


class Time(Percentiles):
    """One text from string to decision or to a layer's verdict, batch 1, the calls of all interleaved."""

    mean_interval: Interval
    """95 %, of the mean: bootstrap over the texts."""
    mean_ratio: Ratio
    """Mean over that of the model alone, the same resamples for both; 1 for itself."""


class Step(Value):
    """One setting of the layer."""

    name: str
    layer: Literal["keywords", "model"]
    benign_at: float
    """Log-odds up to which the layer calls a text benign …"""
    attack_at: float
    """… and from which it calls one an attack."""
    misses: float
    """Share of the attacks that it was allowed to call benign when the limits were chosen …"""
    alarms: float
    """… and share of the benign texts that it was allowed to call attacks."""
    reach: float
    """Share of the texts that the model sees."""
    reach_interval: Interval
    """95 % (Wilson)."""
    called_benign: int = Field(ge=0)
    """Texts that the layer decides so …"""
    called_attack: int = Field(ge=0)
    missed: int = Field(ge=0)
    """… attacks among those it calls benign …"""
    alarmed: int = Field(ge=0)
    """… and benign texts among those it calls attacks."""
    lost: int = Field(ge=0)
    """Texts that the model alone decides rightly and the whole does not …"""
    gained: int = Field(ge=0)
    """… and the other way round."""
    figures: dict[str, Change]
    """Every accuracy figure; `before` is the model's alone, `after` the whole's."""
    time: Time | None
    """None: no call was timed."""
    layer_time: Time | None = None
    """The layer's own judgement of each text, whatever it says; None also where an older version measured."""
    judgements: dict[str, Word]
    """By `cascade`: mean_ms, and f1_loss by the lower end of the paired interval."""


class Cascade(Value):
    """A model with a layer before it, at several settings, against the model alone: what `cascade.json` holds."""

    schema_version: Literal[1] = 1
    timestamp: str
    """When it was measured, UTC, ISO 8601."""
    split: str
    rows: int = Field(ge=1)
    attacks: int
    benign: int
    clusters: int
    """Near-duplicate clusters, the unit of the bootstrap."""
    repeats: int
    seed: int
    synthetic: Stamp | None
    hardware: Hardware
    noise: Noise | None
    model: Model
    first: Model | None
    """The model before it; None where it is the checkpoint's own keywords."""
    decode: Literal["beside", "instead"] | None
    """Whether decoded views are read beside or instead of the texts, in all settings and by the model alone."""
    alone: Accuracy
    alone_time: Time | None
    steps: tuple[Step, ...] = Field(min_length=1)
    limits: dict[str, float]
    """What a setting is held to: mean_ms and f1_loss."""
    notes: tuple[str, ...] = ()
    provenance: dict[str, Any]

    @model_validator(mode="after")
    def _agrees(self) -> Cascade:
        agree("rows", self.rows, self.attacks + self.benign)
        for step in self.steps:
            decided = step.called_benign + step.called_attack
            agree(f"reach of {step.name}", step.reach, 1 - decided / self.rows)
        return self
