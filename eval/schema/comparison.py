"""Several checkpoints on the same texts: what `comparison.json` holds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from eval.schema.accuracy import Slice
from eval.schema.base import Interval, Value, agree
from eval.schema.report import Stamp

Those = Literal["all", "attacks", "benign"]
FlipKind = Literal["now caught", "now missed", "new false alarm", "false alarm gone"]


class Change(Value):
    """One figure of both; None where the texts cannot say it (no attacks, or no benign texts)."""

    before: float | None
    """The baseline's."""
    after: float | None
    difference: float | None
    """After minus before."""
    interval: Interval | None
    """95 %, of the difference: bootstrap over near-duplicate clusters, the same resamples for both."""
    p_value: float | None
    """Two-sided, from the same resamples: no difference."""
    adjusted_p_value: float | None
    """Holm's, over the checkpoints compared with the baseline; equal to `p_value` where there is one."""


class McNemar(Value):
    """Exact test of the texts that only one of the two decides rightly (McNemar 1947)."""

    only_before_right: int
    only_after_right: int
    p_value: float
    adjusted_p_value: float
    """Holm's, as in `Change`."""


class Flip(Value):
    """A text decided otherwise than by the baseline."""

    text_hash: str
    text: str
    family: str
    source: str
    before: float
    """The baseline's attack probability; the decision is at 0.5."""
    after: float


class Part(Value):
    """A family or a source under both."""

    before: Slice
    after: Slice
    recall_difference: float | None
    false_positive_rate_difference: float | None
    now_right: int
    """Texts that only the checkpoint decides rightly."""
    now_wrong: int
    """Texts that only the baseline decides rightly."""

    @model_validator(mode="after")
    def _agrees(self) -> Part:
        right = [one.counts.tp + one.counts.tn for one in (self.before, self.after)]
        agree("rows of a part", self.after.counts.rows, self.before.counts.rows)
        agree("rights gained less lost", self.now_right - self.now_wrong, right[1] - right[0])
        return self


class Ratio(Value):
    """After over before; the interval is None for exact figures (bytes)."""

    before: float
    after: float
    ratio: float | None
    """None where nothing stands before it."""
    interval: Interval | None


class LatencyRatio(Value):
    """Milliseconds of separate runs, text to decision; intervals by resampling the timed texts."""

    p50: Ratio
    p95: Ratio
    reference: Ratio
    """Median of the fixed workload that ran between the calls: what the machine itself did meanwhile."""
    p50_normalised: Ratio
    """In units of each run's own reference workload."""
    p95_normalised: Ratio
    caution: str
    """What must be known before believing it."""


class Peer(Value):
    """One checkpoint against the baseline."""

    name: str
    model_id: str
    figures: dict[str, Change]
    mcnemar: dict[Those, McNemar]
    """Right and wrong decisions on all texts, on attacks (recall) and on benign texts (false-positive rate)."""
    flips: dict[FlipKind, tuple[Flip, ...]]
    """Every flip, the checkpoint's most confident first."""
    per_family: dict[str, Part]
    per_source: dict[str, Part]
    size_mb: Ratio
    latency: LatencyRatio | None
    latency_reason: str | None
    """Why there is no ratio of latencies; None where there is one."""

    @model_validator(mode="after")
    def _agrees(self) -> Peer:
        pairs: dict[Those, tuple[FlipKind, FlipKind]] = {
            "attacks": ("now caught", "now missed"),
            "benign": ("false alarm gone", "new false alarm"),
        }
        for name, (gained, lost) in pairs.items():
            if name in self.mcnemar:
                agree(f"mcnemar.{name} gained", self.mcnemar[name].only_after_right, len(self.flips[gained]))
                agree(f"mcnemar.{name} lost", self.mcnemar[name].only_before_right, len(self.flips[lost]))
        if (self.latency is None) == (self.latency_reason is None):
            raise ValueError("either there is a ratio of latencies or a reason why there is none")
        return self


class Comparison(Value):
    """Several checkpoints against one baseline on the same texts."""

    schema_version: Literal[1] = 1
    timestamp: str
    """When they were compared, UTC, ISO 8601."""
    splits: tuple[str, ...]
    """Names of the split in the reports; more than one name where the same texts go by several."""
    rows: int = Field(ge=1)
    attacks: int
    benign: int
    clusters: int
    """Near-duplicate clusters, the unit of the bootstrap."""
    repeats: int
    seed: int
    synthetic: Stamp | None
    baseline: str
    baseline_model_id: str
    peers: tuple[Peer, ...] = Field(min_length=1)
