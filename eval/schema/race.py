"""Models timed against each other with their calls interleaved: what `race.json` holds."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from eval.schema.base import Interval, Value
from eval.schema.costs import Noise, Percentiles
from eval.schema.report import Hardware, Stamp


class Ratio(Value):
    """How many times as long as the first model a peer takes: below 1 the peer is faster."""

    value: float
    interval: Interval
    """From a paired bootstrap over the texts."""


class Contestant(Value):
    """One model and its own times, single thread, batch 1."""

    name: str
    """What it is called here: its id, or its folder where two models have one id."""
    model_id: str
    folder: str
    digest: str
    """SHA-256 over the hashes of the folder's files."""
    precision: str
    latency: Percentiles
    """Each model finds the caches as the others left them, so alone it is a little faster."""
    stages: dict[str, Percentiles]
    """The same calls by stage: tokenise, encode, classify, post-process."""


class Peer(Contestant):
    """A model against the first one."""

    p50_ratio: Ratio
    p95_ratio: Ratio
    geometric_mean_ratio: Ratio
    """Of the ratios text by text, so that long texts count no more than short ones."""
    verdict: Literal["faster", "slower", "undecided"]
    """By the interval of the geometric mean."""
    sentence: str
    """The verdict in words, with its numbers."""


class Race(Value):
    """Models timed against each other with their calls interleaved: what `race.json` holds."""

    schema_version: Literal[1] = 1
    timestamp: str
    """When it was run, UTC, ISO 8601."""
    split: str
    texts: int = Field(ge=2)
    """Distinct texts."""
    calls: int
    """Timed calls of each model, equally many of every text."""
    synthetic: Stamp | None
    hardware: Hardware
    noise: Noise
    first: Contestant
    peers: tuple[Peer, ...] = Field(min_length=1)
    notes: tuple[str, ...] = ()
    """What a reader must know before believing a figure."""
    provenance: dict[str, Any]
