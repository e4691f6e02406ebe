"""One line of the log of served predictions: the format that the writer, the monitor and the A/B test share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

Label = Literal[0, 1]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Served(BaseModel):
    """One served text, a line of JSON; what is None is left out of the line."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    id: Annotated[str, Field(min_length=1, max_length=128)]
    """Names this call; a label that somebody gives later refers to it."""
    time: AwareDatetime
    """When the call began, ISO 8601 with its zone."""
    model: Annotated[str, Field(min_length=1)]
    """The model's name in its manifest."""
    digest: Sha256 | None = None
    """The model folder's `Manifest.digest`: SHA-256 over the hashes of its files and of how it is served."""
    latency_ms: Annotated[float, Field(ge=0.0)]
    """From the text to the decision or the error, milliseconds."""
    text_hash: Sha256
    """SHA-256 of the text in UTF-8, or its HMAC-SHA-256 under the log's key."""
    characters: Annotated[int, Field(ge=0)]
    """Length of the text."""
    attack_probability: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    """The score, 0 to 1; None: the call failed."""
    decision: Literal["ALLOW", "WARN", "BLOCK"] | None = None
    """What the caller was told; WARN and BLOCK both flag the text. None: the call failed."""
    family: str | None = None
    sub_family: str | None = None
    error: str | None = None
    """Kind of the error where the call failed."""
    label: Label | None = None
    """The truth, where somebody gave it: 1 attack, 0 benign."""
    text: str | None = None
    """The text itself, only where the log was told to keep it."""

    @model_validator(mode="after")
    def _decided_or_failed(self) -> Served:
        decided = (self.attack_probability is not None, self.decision is not None)
        if decided != (self.error is None, self.error is None):
            raise ValueError("a line has attack_probability and decision, or else an error")
        return self
