"""What the serving registry will choose among model folders, and why: what `eval.select --json` writes."""

from __future__ import annotations

from typing import Literal

from eval.schema.base import Value

Criteria = Literal["latency", "accuracy", "memory", "balanced"]
Status = Literal["active", "experimental", "deprecated"]


class Candidate(Value):
    """A model folder as the registry reads its manifest."""

    folder: str
    model_id: str
    status: Status
    p95_ms: float | None
    """performance.p95_latency_ms; None: not in the manifest, which scores 50 points."""
    binary_f1: float | None
    """accuracy.binary_f1; None as above."""
    memory_mb: float | None
    """performance.memory_mb; None as above."""
    refused: str | None
    """Why the registry cannot make a detector of it although it may choose it; None: it can."""


class Skipped(Value):
    """A folder that the registry does not list."""

    folder: str
    reason: str


class Scored(Value):
    """A candidate's points, the more the better."""

    candidate: Candidate
    score: float
    considered: bool
    """False: there are active models, and this is none."""
    sentence: str
    """How the points came about."""


class Choice(Value):
    """Among all candidates."""

    schema_version: Literal[1] = 1
    criteria: Criteria
    chosen: str | None
    """Its id; None: the registry finds no model."""
    scored: tuple[Scored, ...]
    """In the order of the choice: considered ones first, by points, equals by their id."""
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    """What a reader must know before relying on it."""
