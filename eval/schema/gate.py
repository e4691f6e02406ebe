"""One report held against the baseline that is served now: what `eval.gate --json` writes."""

from __future__ import annotations

from typing import Literal

from eval.schema.base import Value

Outcome = Literal["pass", "fail", "not judged"]
Kind = Literal["regression", "rollback"]
PASSED, REGRESSION, NOT_JUDGED, ROLLBACK = 0, 1, 2, 3


class Rules(Value):
    """The limits; exactly on a limit passes."""

    max_drop: float = 0.01
    """Absolute: how far a figure may fall, or an error rate rise, against the baseline."""
    max_size_mb: float | None = None
    """Every byte of the folder, MB (10^6 bytes); None: the report's own target, and no check where that is null."""
    max_latency_ratio: float = 1.10
    """P50 and P95 over the baseline's; 1.10 allows ten percent more time."""
    max_fpr: float = 0.015
    """Rollback rule: share of benign texts flagged."""
    max_fnr: float = 0.04
    """Rollback rule: share of attacks missed."""


class Check(Value):
    """One rule applied."""

    name: str
    kind: Kind
    outcome: Outcome
    value: float | None
    """What the limit bounds: the drop, the rise, the size, the ratio or the rate; None where it was not judged."""
    limit: float
    sentence: str
    """Value and limit in words, or why it could not be judged."""


class Gate(Value):
    """All checks of one report against one baseline."""

    schema_version: Literal[1] = 1
    report: str
    """Model judged."""
    baseline: str
    split: str
    rows: int
    rules: Rules
    checks: tuple[Check, ...]

    def status(self, allow_unjudged: bool = False) -> int:
        """Rollback before regression before "could not judge"; what was not judged passes only where that is allowed.

        A gate that could not look at what it was asked to look at has not passed.
        """
        if any(check.outcome == "fail" and check.kind == "rollback" for check in self.checks):
            return ROLLBACK
        if any(check.outcome == "fail" for check in self.checks):
            return REGRESSION
        unjudged = any(check.outcome == "not judged" for check in self.checks)
        return NOT_JUDGED if unjudged and not allow_unjudged else PASSED
