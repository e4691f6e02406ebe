"""Two variants in service against each other: what `eval.ab --json` writes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from eval.schema.base import Interval, Value
from eval.schema.live import Check, Latencies, Share

Name = Literal["p50_ms", "p95_ms", "false_positive_rate", "false_negative_rate", "error_rate"]
Verdict = Literal["better", "worse", "no difference shown", "not measured"]
Size = Annotated[float, Field(gt=0.0)]
NOT_WORSE, WORSE, ROLLBACK = 0, 1, 3
"""Exit statuses; 2 is a mistake of the command or an unreadable log."""


class Effects(Value):
    """The smallest differences worth knowing; each says how many lines are needed to see it."""

    p50_ms: Size = 0.1
    """As a share of A's figure."""
    p95_ms: Size = 0.1
    """As a share of A's figure."""
    false_positive_rate: Size = 0.005
    """Absolute."""
    false_negative_rate: Size = 0.01
    """Absolute."""
    error_rate: Size = 0.01
    """Absolute."""


class Limits(Value):
    """The rollback rule: above either, B is taken back, whatever A does."""

    false_positive_rate: Size = 0.015
    false_negative_rate: Size = 0.04


class Compared(Value):
    """One figure of both; of all of them less is better."""

    name: Name
    before: float | None
    """A's."""
    after: float | None
    """B's."""
    difference: float | None
    """B's minus A's."""
    interval: Interval | None
    """95 %, of the difference."""
    p_value: float | None
    """Two-sided, of no difference."""
    adjusted_p_value: float | None
    """Holm's, over the figures of this test."""
    verdict: Verdict
    """better or worse where the adjusted p-value is at most 0.05."""
    effect: float | None
    """The stated effect in the figure's own unit."""
    lines_needed: int | None
    """In each log, to see that effect."""
    lines_missing: int | None
    """Of those, in the shorter log."""


class Arm(Value):
    """One variant."""

    log: str
    model: str
    digests: tuple[str, ...]
    first: str
    last: str
    lines: int
    failed: int
    flagged: int
    labelled: int
    latency: Latencies | None
    false_positive_rate: Share
    false_negative_rate: Share


class ABTest(Value):
    """A is served now, B is to replace it."""

    schema_version: Literal[1] = 1
    timestamp: str
    """When the logs were read, UTC, ISO 8601."""
    a: Arm
    b: Arm
    power: float
    """Share of the tests that see the effect where it is real."""
    compared: tuple[Compared, ...]
    rollback: tuple[Check, ...]
    """B against the rollback rule: critical is proven, warning is over the limit without proof."""
    notes: tuple[str, ...]

    @property
    def status(self) -> int:
        """Rollback before worse; a limit that is passed without proof counts as worse."""
        levels = {check.level for check in self.rollback}
        if "critical" in levels:
            return ROLLBACK
        worse = any(one.verdict == "worse" for one in self.compared)
        return WORSE if worse or "warning" in levels else NOT_WORSE
