"""One checkpoint judged on one split: what `report.json` holds."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from core.schema import Limits
from eval.schema.accuracy import Accuracy, Sensitivity, Slice
from eval.schema.base import Interval, Value, agree
from eval.schema.costs import Grid, Latency, Resources, Throughput

Stamp = Literal["synthetic: shows that the machinery works, claims nothing"]
SYNTHETIC: Stamp = "synthetic: shows that the machinery works, claims nothing"
VERSION = 2
Word = Literal["met", "missed", "undecided", "not measured"]


class Hardware(Value):
    """The machine that measured."""

    cpu: str
    cores: int
    memory_gb: float
    os: str
    cpu_flags: tuple[str, ...]


class Judgement(Value):
    """One target: met or missed only when the whole interval lies on that side of the limit."""

    measured: float | None
    limit: float
    interval: Interval | None
    """None: the figure is exact (bytes) or was not measured."""
    verdict: Word
    margin: float | None
    """From the limit to the interval's nearer end, in the figure's unit: positive where met, negative where not."""
    sentence: str
    """Why, in words: what the set could prove and what it would need."""

    @property
    def met(self) -> bool | None:
        """True met, False missed, None undecided or not measured."""
        return {"met": True, "missed": False}.get(self.verdict)


class Threshold(Value):
    """Where the operating point comes from; it is built into the head, so the decision is at 0.5."""

    value: float
    """As a probability of the raw head."""
    rule: str
    split: str
    fingerprint: str
    rows: int
    attacks: int
    f1: float
    recall: float
    false_positive_rate: float


class Overlap(Value):
    """Texts that the judged rows share with the training rows."""

    training_rows: int
    training_fingerprint: str
    same_training_rows: bool | None
    """Whether the checkpoint's manifest names this fingerprint as its training data; None: it names none."""
    exact: int
    """Judged texts that stand in the training rows, normalised; anything but 0 is refused."""
    near: int
    """Judged texts with a near-duplicate among the training rows."""
    near_similarity: float
    """Jaccard similarity of word 3-grams from which two texts count as near-duplicates."""
    same_group: int
    """Judged texts whose group (near-duplicate cluster) also stands in the training rows."""


class Report(Value):
    """One checkpoint judged on one split: what `report.json` holds."""

    schema_version: Literal[2] = 2
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
    grid: Grid | None = None
    throughput: Throughput | None = None
    accuracy: Accuracy
    resources: Resources
    targets: Limits
    judgements: dict[str, Judgement]
    meets_targets: dict[str, bool | None]
    """Per target: true met, false missed, null undecided or not measured."""
    per_family: dict[str, Slice]
    per_source: dict[str, Slice]
    per_length_bucket: dict[str, Slice]
    """By characters of the text."""
    per_script: dict[str, Slice]
    """By the Unicode script most of the text's letters belong to."""
    sensitivity: dict[str, Sensitivity]
    """Headline figures with one source left out at a time."""
    threshold: Threshold | None
    overlap: Overlap | None
    notes: tuple[str, ...] = ()
    """What a reader must know before believing a figure."""
    provenance: dict[str, Any]

    @property
    def verdict(self) -> Literal["met", "missed", "undecided"]:
        """All targets at once: missed where one is, met where all are."""
        words = {judgement.verdict for judgement in self.judgements.values()}
        return "missed" if "missed" in words else "met" if words == {"met"} else "undecided"

    @model_validator(mode="after")
    def _agrees(self) -> Report:
        matrix = self.accuracy.confusion_matrix
        agree("rows", self.rows, matrix.rows)
        for name in ("per_family", "per_source", "per_length_bucket", "per_script"):
            for count in ("tp", "fp", "tn", "fn"):
                total = sum(getattr(part.counts, count) for part in getattr(self, name).values())
                agree(f"{name} {count}", total, getattr(matrix, count))
        expected = {name: judgement.met for name, judgement in self.judgements.items()}
        if self.meets_targets != expected:
            raise ValueError(f"meets_targets says {self.meets_targets}, the judgements say {expected}")
        return self
