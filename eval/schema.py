"""What a report says: frozen values that refuse to be built from figures that contradict each other."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.schema import Limits
from eval.latency import Latency
from eval.metrics import Confusion, wilson
from eval.resources import Resources
from eval.targets import Verdict, verdict

Stamp = Literal["synthetic: shows that the machinery works, claims nothing"]
SYNTHETIC: Stamp = "synthetic: shows that the machinery works, claims nothing"
Interval = tuple[float, float]


class Value(BaseModel):
    """Base: frozen, no unknown keys, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


class Intervals(Value):
    """95 % Wilson intervals of the shares."""

    precision: Interval
    recall: Interval
    false_positive_rate: Interval
    false_negative_rate: Interval

    @classmethod
    def of(cls, matrix: Confusion) -> Intervals:
        return cls(
            precision=wilson(matrix.tp, matrix.tp + matrix.fp),
            recall=wilson(matrix.tp, matrix.tp + matrix.fn),
            false_positive_rate=wilson(matrix.fp, matrix.fp + matrix.tn),
            false_negative_rate=wilson(matrix.fn, matrix.fn + matrix.tp),
        )


class Accuracy(Value):
    """How right the decisions are; every share follows from `confusion_matrix`."""

    binary_f1: float
    binary_precision: float
    binary_recall: float
    family_f1: float
    """Macro over all families, benign included, end to end."""
    subfamily_f1: float | None
    """Macro over the sub-families with at least 20 rows, end to end; None if there is none."""
    false_positive_rate: float
    false_negative_rate: float
    auroc: float
    average_precision: float
    expected_calibration_error: float
    """Of the served probability, whose 0.5 is the operating point."""
    confusion_matrix: Confusion
    intervals: Intervals

    @model_validator(mode="after")
    def _agrees(self) -> Accuracy:
        matrix = self.confusion_matrix
        _equal("accuracy.binary_f1", self.binary_f1, matrix.f1)
        _equal("accuracy.binary_precision", self.binary_precision, matrix.precision)
        _equal("accuracy.binary_recall", self.binary_recall, matrix.recall)
        _equal("accuracy.false_positive_rate", self.false_positive_rate, matrix.false_positive_rate)
        _equal("accuracy.false_negative_rate", self.false_negative_rate, matrix.false_negative_rate)
        expected = Intervals.of(matrix).model_dump()
        for name, interval in self.intervals.model_dump().items():
            for mine, counted in zip(interval, expected[name], strict=True):
                _equal(f"accuracy.intervals.{name}", mine, counted)
        return self


class Family(Value):
    """One family's rows, and for how many the decision attack/benign was right."""

    rows: int
    correct: int
    recall: float

    @model_validator(mode="after")
    def _agrees(self) -> Family:
        _equal("per_family recall", self.recall, self.correct / self.rows)
        return self


class Hardware(Value):
    """The machine that measured."""

    cpu: str
    cores: int
    memory_gb: float
    os: str
    cpu_flags: tuple[str, ...]


class Report(Value):
    """One checkpoint judged on one split: what `report.json` holds."""

    schema_version: Literal[1] = 1
    model_id: str
    timestamp: str
    """When it was judged, UTC, ISO 8601."""
    split: str
    rows: int = Field(ge=1)
    synthetic: Stamp | None
    hardware: Hardware
    precision: str | None = None
    """How the model ran: float32, float16 run as bfloat16, onnx fp32, onnx int8, …; None for a step checkpoint."""
    latency: Latency | None
    accuracy: Accuracy
    resources: Resources
    targets: Limits
    meets_targets: Verdict
    per_family: dict[str, Family]
    per_length_bucket: dict[str, Confusion]
    """Rows by characters of the text."""
    provenance: dict[str, Any]

    @model_validator(mode="after")
    def _agrees(self) -> Report:
        matrix = self.accuracy.confusion_matrix
        _equal("rows", self.rows, matrix.rows)
        _equal("per_family rows", sum(family.rows for family in self.per_family.values()), matrix.rows)
        _equal("per_family correct", sum(family.correct for family in self.per_family.values()), matrix.tp + matrix.tn)
        for count in ("tp", "fp", "tn", "fn"):
            total = sum(getattr(bucket, count) for bucket in self.per_length_bucket.values())
            _equal(f"per_length_bucket {count}", total, getattr(matrix, count))
        p95 = self.latency.p95_ms if self.latency else None
        size = self.resources.model_size_mb
        expected = verdict(self.targets, matrix.f1, matrix.false_positive_rate, p95, size)
        if self.meets_targets != expected:
            raise ValueError(f"meets_targets says {self.meets_targets}, the figures say {expected}")
        return self


def _equal(name: str, given: float, counted: float) -> None:
    if abs(given - counted) > 1e-9:
        raise ValueError(f"{name} is {given}, but the counts give {counted}")
