"""Heads, export and the verdict."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from core.schema.base import Count, Rate, Section


class Heads(Section):
    """The classifiers on the embedding."""

    kind: Literal["linear", "logistic"] = "linear"
    """linear: the heads trained with the encoder; logistic: scikit-learn's, fitted on the embeddings."""
    inverse_regularisation: Annotated[float, Field(gt=0.0)] = 10.0
    """scikit-learn's C of the logistic heads."""
    threshold: Literal["target_fpr", "best_f1", "cost"] = "target_fpr"
    """How validation chooses the threshold: highest recall under a false-positive rate, highest F1, or least cost."""
    max_false_positive_rate: Rate = 0.01
    """With `threshold: target_fpr` the threshold is the lowest whose false-positive rate stays below this …"""
    safety_margin: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    """… reduced by this share, because validation's rate is only an estimate."""
    false_positive_cost: Annotated[float, Field(gt=0.0)] = 1.0
    """With `threshold: cost`: what a flagged benign text costs, in any unit …"""
    false_negative_cost: Annotated[float, Field(gt=0.0)] = 1.0
    """… and what a missed attack costs, in the same unit."""


class Parity(Section):
    """How far an exported graph may differ from PyTorch before nothing is written."""

    texts: Count = 500
    """Texts compared, from validation."""
    min_cosine: Annotated[float, Field(gt=0.0, le=1.0)] = 0.9
    """Lowest cosine of a single text's embedding to PyTorch's."""
    max_flip_rate: Annotated[float, Field(ge=0.0, le=1.0)] = 0.02
    """Share of the texts whose decision may differ."""


class Export(Section):
    """ONNX graphs and serving folders."""

    formats: Annotated[tuple[Literal["fp32", "int8"], ...], Field(min_length=1)] = ("fp32", "int8")
    """Which graphs to write; each becomes a serving folder beside the checkpoint."""
    parity: Parity = Parity()
    """Comparison with PyTorch."""


class Limits(Section):
    """The targets of the verdict."""

    model_size_mb: Annotated[float, Field(gt=0.0)] = 50.0
    """Every byte of the folder, MB (10^6 bytes), at most."""
    p95_ms: Annotated[float, Field(gt=0.0)] = 3.0
    """95th percentile of text-to-decision latency, milliseconds, below."""
    binary_f1: Rate = 0.95
    """F1 of attack against benign, above."""
    false_positive_rate: Rate = 0.01
    """Share of benign texts flagged, below."""


class Evaluation(Section):
    """How a checkpoint is judged."""

    split: Literal["validation", "test"] = "validation"
    """The rows to judge on; test is read only when asked for here."""
    latency_calls: Annotated[int, Field(ge=1000)] = 1000
    """Timed calls, batch 1, over the split's texts in random order."""
    warmup_calls: Annotated[int, Field(ge=1)] = 50
    """Untimed calls before them."""
    threads: Count = 1
    """Threads of the measured model."""
    targets: Limits = Limits()
    """What a checkpoint must meet."""
