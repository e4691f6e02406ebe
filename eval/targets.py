"""Whether measured figures meet the targets."""

from __future__ import annotations

from dataclasses import dataclass

from core.schema import Limits


@dataclass(frozen=True)
class Verdict:
    """True: met; False: missed; None: not measured."""

    latency: bool | None
    size: bool | None
    accuracy: bool | None
    fpr: bool | None

    @property
    def met(self) -> bool:
        """Whether every target was measured and met."""
        return all((self.latency, self.size, self.accuracy, self.fpr))


def verdict(
    limits: Limits, f1: float | None, fpr: float | None, p95_ms: float | None, size_mb: float | None
) -> Verdict:
    """Judge the unrounded figures: P95, FPR below their limits, F1 above its limit, size at most its limit.

    A figure that was not measured (None) is neither met nor missed.
    """
    return Verdict(
        latency=None if p95_ms is None else p95_ms < limits.p95_ms,
        size=None if size_mb is None else size_mb <= limits.model_size_mb,
        accuracy=None if f1 is None else f1 > limits.binary_f1,
        fpr=None if fpr is None else fpr < limits.false_positive_rate,
    )
