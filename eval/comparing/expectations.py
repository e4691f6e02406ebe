"""What a document expected of an option beside what was measured, and by how much it was off."""

from __future__ import annotations

from collections.abc import Mapping

from core.schema.options import Estimate
from eval.schema import Interval, Report, Resources
from eval.schema.options import Expectation, Figure, Verdict

SHARES: tuple[Figure, ...] = ("binary_f1", "false_positive_rate")
FIGURES: tuple[Figure, ...] = ("model_size_mb", "heads_mb", "mean_ms", "p95_ms", *SHARES)
NEAR_BYTES = 0.05  # bytes and means have no interval: this share either way still counts as right


def expectations(estimate: Estimate, report: Report) -> list[Expectation]:
    """Each figure that the estimate gives, beside the report's."""
    measured = _measured(report)
    found = []
    for figure in FIGURES:
        ends = getattr(estimate, figure)
        if ends:
            found.append(expectation(estimate.source, figure, (ends[0], ends[-1]), *measured[figure]))
    return found


def heads_mb(used: Resources) -> float:
    """MB of the classifiers, whatever stands before them."""
    return used.bytes_by_group.get("heads", 0) / 1e6


def _measured(report: Report) -> Mapping[Figure, tuple[float | None, Interval | None]]:
    right, near, timed = report.accuracy, report.accuracy.intervals, report.latency
    return {
        "model_size_mb": (report.resources.model_size_mb, None),
        "heads_mb": (heads_mb(report.resources), None),
        "mean_ms": (timed.mean_ms if timed else None, None),
        "p95_ms": (timed.p95_ms, timed.intervals.p95_ms) if timed else (None, None),
        "binary_f1": (right.binary_f1, near.binary_f1),
        "false_positive_rate": (right.false_positive_rate, near.false_positive_rate),
    }


def expectation(
    source: str, figure: Figure, expected: Interval, measured: float | None, interval: Interval | None
) -> Expectation:
    """One figure beside its measurement, judged."""
    verdict, off = judged(figure, expected, measured, interval)
    return Expectation(
        source=source, figure=figure, expected=expected, measured=measured, interval=interval, verdict=verdict, off=off
    )


def judged(
    figure: Figure, expected: Interval, measured: float | None, interval: Interval | None
) -> tuple[Verdict, float | None]:
    """Right where the measured interval touches the expected range, else which way it was off, and by how much.

    Only of F1 more is better; of everything else, less.
    """
    if measured is None:
        return "not measured", None
    low, high = interval or (measured * (1 - NEAR_BYTES), measured * (1 + NEAR_BYTES))
    if low <= expected[1] and high >= expected[0]:
        return "right", None
    above = expected[0] > high
    nearer = expected[0] if above else expected[1]
    off = measured - nearer if figure in SHARES else measured / nearer
    return "optimistic" if above == (figure == "binary_f1") else "pessimistic", off
