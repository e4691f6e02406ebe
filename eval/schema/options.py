"""The options of a roadmap judged on the same texts: what `options.json` holds."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from eval.schema.base import Interval, Value
from eval.schema.comparison import Change, Ratio
from eval.schema.report import Stamp

Figure = Literal["model_size_mb", "heads_mb", "mean_ms", "p95_ms", "binary_f1", "false_positive_rate"]
Verdict = Literal["right", "optimistic", "pessimistic", "not measured"]


class Expectation(Value):
    """One figure that a document expected of an option, beside what was measured."""

    source: str
    figure: Figure
    expected: tuple[float, float]
    """The ends of the range; twice the same for a single number."""
    measured: float | None
    interval: Interval | None
    verdict: Verdict
    """right: the measured 95 % interval touches the range (bytes, means: 5 % each way); optimistic: it promised more.
    """
    off: float | None
    """Shares: measured less the nearer end; MB and ms: measured over it; None where right or not measured."""


class Row(Value):
    """One option that was judged."""

    name: str
    checkpoint: str
    model_id: str
    build: tuple[str, ...]
    """The commands that make it."""
    stand_in: str | None
    """What the row lacked and what stood in for it."""
    report: str
    """Folder of its report."""
    taken_over: bool
    """Whether the report was there already, of the same bytes, texts, settings, versions and machine."""
    precision: str | None
    binary_f1: float | None
    binary_f1_interval: Interval | None
    binary_recall: float | None
    false_positive_rate: float | None
    false_positive_rate_interval: Interval | None
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p95_interval: Interval | None
    trusted: bool | None
    """Whether the machine was quiet while it was timed; None: it was not timed."""
    model_size_mb: float
    heads_mb: float
    """Of which the three classifiers."""
    memory_usage_mb: float | None
    targets: dict[str, bool | None]
    """Per target: true met, false missed, null undecided or not measured."""
    changes: dict[str, Change]
    """Paired differences to the reference; empty for the reference and without one."""
    p95_ratio: Ratio | None
    """Of the P95s, the reference's below, each in units of the fixed workload that ran between its own calls."""
    expectations: tuple[Expectation, ...]


class Missing(Value):
    """One option that is not in the table."""

    name: str
    checkpoint: str
    build: tuple[str, ...]
    stand_in: str | None
    reason: str


class Table(Value):
    """The options of a roadmap judged on the same texts: what `options.json` holds."""

    schema_version: Literal[1] = 1
    timestamp: str
    split: str
    texts: int = Field(ge=1)
    attacks: int
    synthetic: Stamp | None
    reference: str | None
    """The row of the paired differences; None: there is none, or it is not built."""
    rows: tuple[Row, ...] = Field(min_length=1)
    missing: tuple[Missing, ...]
    notes: tuple[str, ...]
    """What a reader must know before believing a figure."""
    provenance: dict[str, Any]
