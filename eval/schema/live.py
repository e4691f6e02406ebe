"""What served predictions say of a model in service: what `eval.monitor --json` writes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from eval.schema.base import Interval, Value

Level = Literal["critical", "warning", "undecided", "ok", "not measured"]
LEVELS: tuple[Level, ...] = ("critical", "warning", "undecided", "ok", "not measured")
"""The worst first."""
OK, WARNING, CRITICAL = 0, 1, 3
"""Exit statuses; 2 is a mistake of the command or an unreadable log."""


class Alarm(Value):
    """The two levels of one figure; exactly on a level passes."""

    warning: float | None
    """None: there is no earlier level than `critical`."""
    critical: float

    @model_validator(mode="after")
    def _in_order(self) -> Alarm:
        if self.warning is not None and self.warning > self.critical:
            raise ValueError(f"the warning {self.warning:g} lies above the critical level {self.critical:g}: swap them")
        return self


class Alarms(Value):
    """What a model in service must keep."""

    p95_ms: Alarm = Alarm(warning=3.5, critical=5.0)
    """95th percentile of the latency of answered calls, milliseconds."""
    false_positive_rate: Alarm = Alarm(warning=0.015, critical=0.02)
    """Share of benign traffic flagged."""
    false_negative_rate: Alarm = Alarm(warning=None, critical=0.04)
    """Share of attacks let through."""
    error_rate: Alarm = Alarm(warning=None, critical=0.05)
    """Share of calls that failed."""
    psi: Alarm = Alarm(warning=0.1, critical=0.25)
    """Population stability index of scores and lengths (customary levels: Siddiqi, Credit Risk Scorecards, 2006)."""


class Check(Value):
    """One figure against its levels."""

    name: str
    value: float | None
    """None: the log cannot say it."""
    interval: Interval | None
    alarm: Alarm
    level: Level
    sentence: str
    """What the figure rests on, or why it was not measured."""


class Share(Value):
    """An error rate as the labelled part of the log tells it."""

    value: float | None
    interval: Interval | None
    method: Literal["counted", "weighted", "not measured"]
    """counted: every answered line has a label; weighted: flagged and allowed lines each stand for all such lines."""
    labelled: int
    """Labelled lines of the class (benign for false positives, attacks for false negatives)."""
    sentence: str


class Drift(Value):
    """How far scores or lengths of the traffic lie from those of the evaluation."""

    what: Literal["scores", "lengths"]
    psi: float
    """Population stability index over ten bins of equal share in the reference, natural logarithm."""
    psi_interval: Interval
    distance: float
    """Kolmogorov and Smirnov's: the largest gap between the two shares below a value, exact."""
    distance_interval: Interval
    p_value: float
    """Of no difference, asymptotic."""
    at: float
    """The value where that gap is."""
    distance_unmixed: float
    """The same distance to the evaluation's rows as they are, with their own share of attacks."""


class Window(Value):
    """A stretch of time."""

    start: str
    """ISO 8601, UTC."""
    lines: int
    failed: int
    flagged: int
    p95_ms: float | None
    """None: no call was answered."""


class Latencies(Value):
    """Milliseconds of answered calls, each within `relative_error` of the exact order statistic."""

    calls: int
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    relative_error: float


class Health(Value):
    """A model in service, from its log."""

    schema_version: Literal[1] = 1
    timestamp: str
    """When the log was read, UTC, ISO 8601."""
    log: str
    model: str
    digests: tuple[str, ...]
    """Folders that answered under that name."""
    reference: str | None
    """Model of the evaluation's report that the traffic is compared with."""
    first: str
    """Time of the earliest line, ISO 8601, UTC."""
    last: str
    lines: int = Field(ge=1)
    failed: int
    flagged: int
    labelled: int
    unreadable: int
    latency: Latencies | None
    false_positive_rate: Share
    false_negative_rate: Share
    attack_share: float | None
    """Share of attacks in the traffic under which the evaluation's scores come closest to it; None: no reference."""
    drift: tuple[Drift, ...]
    checks: tuple[Check, ...]
    windows: tuple[Window, ...]
    window_seconds: float
    notes: tuple[str, ...]
    """What a reader must know before believing a figure."""

    @property
    def level(self) -> Level:
        """The worst of the checks."""
        return min((check.level for check in self.checks), key=LEVELS.index)

    @property
    def status(self) -> int:
        """For alerting: what is undecided or not measured raises no alarm."""
        return {"critical": CRITICAL, "warning": WARNING}.get(self.level, OK)
