"""What a checkpoint flags of the same texts as they stand and encoded: what `encodings.json` holds."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from eval.schema.base import Interval, Model, Value, agree
from eval.schema.report import Hardware, Stamp

Reading = Literal["raw", "beside", "instead"]
"""How the checkpoint reads: the text as it stands, its decoded view beside it, or that instead of it."""


class Flagged(Value):
    """Texts of one label in one form, read in one way."""

    texts: int = Field(ge=1)
    flagged: int = Field(ge=0)
    share: float
    interval: Interval
    """95 % (Wilson)."""
    newly: int = Field(ge=0)
    """Flagged in this form and not as they stand, read in the same way …"""
    no_longer: int = Field(ge=0)
    """… and the other way round."""
    p_value: float = Field(ge=0, le=1)
    """Of these two being equally likely (McNemar, exact, two-sided)."""

    @model_validator(mode="after")
    def _agrees(self) -> Flagged:
        agree("share", self.share, self.flagged / self.texts)
        return self


class Encodings(Value):
    """What a checkpoint flags of the same texts as they stand and encoded: what `encodings.json` holds."""

    schema_version: Literal[1] = 1
    timestamp: str
    """When it was measured, UTC, ISO 8601."""
    model: Model
    split: str
    seed: int
    characters: int = Field(ge=1)
    """Texts are cut to so many, for every form of them to lie within what the decoders read."""
    decoded_limit: float
    """Attack probability from which a decoded view is an attack."""
    first_layer: str | None = None
    """Setting of the checkpoint's own first layer, which stood before the model in every reading; None: the model saw
    every text."""
    attacks: dict[str, dict[Reading, Flagged]]
    """By form, then by reading; of texts in which no decoder finds anything."""
    benign: dict[str, dict[Reading, Flagged]]
    synthetic: Stamp | None
    hardware: Hardware
    provenance: dict[str, Any]
