"""How a checkpoint is judged, and what it must meet."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from core.schema.base import Count, NamedPath, Rate, Section


class Limits(Section):
    """The targets of the verdict; null leaves one out."""

    model_size_mb: Annotated[float, Field(gt=0.0)] | None = 50.0
    """Every byte of the folder, MB (10^6 bytes), at most."""
    p95_ms: Annotated[float, Field(gt=0.0)] | None = 3.0
    """95th percentile of text-to-decision latency, milliseconds, below."""
    binary_f1: Rate | None = 0.95
    """F1 of attack against benign, above."""
    false_positive_rate: Rate | None = 0.01
    """Share of benign texts flagged, below."""
    binary_recall: Rate | None = 0.97
    """Share of attacks caught, above (the roadmap's false-negative rate below 0.03)."""
    memory_usage_mb: Annotated[float, Field(gt=0.0)] | None = 200.0
    """Peak resident memory of the serving process, MB, at most."""
    p50_ms: Annotated[float, Field(gt=0.0)] | None = 2.0
    """Median text-to-decision latency, milliseconds, below."""
    p99_ms: Annotated[float, Field(gt=0.0)] | None = 5.0
    """99th percentile of text-to-decision latency, milliseconds, below."""


class Evaluation(Section):
    """How a checkpoint is judged."""

    split: str = "validation"
    """The rows to judge on: validation, test or a name of `data.extra`; only validation is read without being named."""
    latency_calls: Annotated[int, Field(ge=0)] = 1000
    """Timed calls, batch 1, over the split's texts in random order: at least 1000, or 0 to time nothing."""
    warmup_calls: Annotated[int, Field(ge=1)] = 50
    """Untimed calls before them."""
    threads: Count = 1
    """Threads of the measured model."""
    grid_seconds: Annotated[float, Field(ge=0.0)] = 30.0
    """Time box of the grid (length, threads, batch, padding) beside the headline figure, seconds; 0 leaves it out."""
    peers: tuple[NamedPath, ...] = ()
    """`eval.race`: the checkpoint folders timed against `checkpoint`, their calls interleaved with its own;
    `eval.fidelity`: the one teacher that `checkpoint` is measured against;
    `eval.cascade`: the one model that stands before `checkpoint`; empty: its own first layer."""
    throughput_seconds: Annotated[float, Field(ge=0.0)] = 5.0
    """How long the saturated throughput is measured, seconds; 0 leaves it out."""
    bootstrap_repeats: Annotated[int, Field(ge=100)] = 2000
    """Resamples behind each bootstrap interval."""
    targets: Limits = Limits()
    """What a checkpoint must meet."""

    @model_validator(mode="after")
    def _enough_calls(self) -> Evaluation:
        if 0 < self.latency_calls < 1000:
            raise ValueError(
                f"`latency_calls` is {self.latency_calls}: percentiles need at least 1000 calls (0 times nothing)"
            )
        return self
