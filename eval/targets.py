"""Whether measured figures meet the targets: met or missed only where the whole interval says so."""

from __future__ import annotations

from collections.abc import Callable

from core.schema import Limits
from eval.metrics.intervals import benign_needed, required_false_positives
from eval.schema import Accuracy, Interval, Judgement, Latency, Resources, Word

TARGETS = {
    "latency": "latency P95, ms",
    "size": "size, MB",
    "accuracy": "F1",
    "fpr": "false-positive rate",
    "recall": "recall",
    "memory": "peak memory, MB",
    "latency_p50": "latency P50, ms",
    "latency_p99": "latency P99, ms",
}
"""Every target, in the order of reports, with its figure and unit."""
ABOVE = ("accuracy", "recall")  # wanted above their limit; everything else below it


def judgements(
    limits: Limits, accuracy: Accuracy, latency: Latency | None, resources: Resources
) -> dict[str, Judgement]:
    """One judgement a target that `limits` gives."""
    found = {
        "latency": _time(limits.p95_ms, latency, "p95_ms"),
        "size": _exact(limits.model_size_mb, resources.model_size_mb, "every byte of the folder"),
        "accuracy": _f1(limits.binary_f1, accuracy),
        "fpr": _errors(limits.false_positive_rate, accuracy),
        "recall": _recall(limits.binary_recall, accuracy),
        "memory": _exact(limits.memory_usage_mb, resources.memory_usage_mb, "peak of a process of its own"),
        "latency_p50": _time(limits.p50_ms, latency, "p50_ms"),
        "latency_p99": _time(limits.p99_ms, latency, "p99_ms"),
    }
    return {name: judgement for name, judgement in found.items() if judgement is not None}


def judge_above(interval: Interval, limit: float) -> tuple[Word, float]:
    """A figure wanted above its limit: the verdict, and the margin of the interval's nearer end."""
    low, high = interval
    word: Word = "met" if low > limit else "missed" if high <= limit else "undecided"
    return word, (high if word == "missed" else low) - limit


def judge_below(interval: Interval, limit: float) -> tuple[Word, float]:
    """A figure wanted below its limit."""
    low, high = interval
    word: Word = "met" if high < limit else "missed" if low >= limit else "undecided"
    return word, limit - (low if word == "missed" else high)


def _judged(
    side: Callable[[Interval, float], tuple[Word, float]],
    limit: float | None,
    measured: float | None,
    interval: Interval | None,
    why: str,
    missing: str,
) -> Judgement | None:
    if limit is None:
        return None
    if measured is None or interval is None:
        return _not_measured(limit, missing)
    word, margin = side(interval, limit)
    return Judgement(measured=measured, limit=limit, interval=interval, verdict=word, margin=margin, sentence=why)


def _time(limit: float | None, latency: Latency | None, name: str) -> Judgement | None:
    if latency is None:
        return None if limit is None else _not_measured(limit, "latency was not measured")
    low, high = getattr(latency.intervals, name)
    # Other work on the machine only ever slows a call down, so noise widens the interval downwards.
    interval = (low / max(latency.noise.slowdown, 1.0), high)
    noise = "" if latency.noise.trusted else "; the machine was too noisy to trust it"
    threads = "1 thread" if latency.threads == 1 else f"{latency.threads} threads"
    why = f"{latency.calls:,} calls, one text each, {threads}{noise}"
    return _judged(judge_below, limit, getattr(latency, name), interval, why, "")


def _exact(limit: float | None, measured: float | None, what: str) -> Judgement | None:
    if limit is None:
        return None
    if measured is None:
        return _not_measured(limit, f"{what}: not measured")
    word: Word = "met" if measured <= limit else "missed"
    return Judgement(
        measured=measured, limit=limit, interval=None, verdict=word, margin=limit - measured, sentence=what
    )


def _f1(limit: float | None, accuracy: Accuracy) -> Judgement | None:
    f1, interval = accuracy.binary_f1, accuracy.intervals.binary_f1
    why = "its whole interval has to lie above the limit"
    missing = "F1 needs attacks and benign texts" if f1 is None else "no interval was computed"
    return _judged(judge_above, limit, f1, interval, why, missing)


def _errors(limit: float | None, accuracy: Accuracy) -> Judgement | None:
    counts, interval = accuracy.confusion_matrix, accuracy.intervals.false_positive_rate
    benign = counts.fp + counts.tn
    why = f"{counts.fp:,} of {benign:,} benign texts flagged; {_provable(benign, limit or 0.0)}"
    return _judged(judge_below, limit, accuracy.false_positive_rate, interval, why, "the set holds no benign text")


def _recall(limit: float | None, accuracy: Accuracy) -> Judgement | None:
    counts, interval = accuracy.confusion_matrix, accuracy.intervals.binary_recall
    attacks = counts.tp + counts.fn
    why = f"{counts.fn:,} of {attacks:,} attacks missed; {_provable(attacks, 1 - (limit or 1.0))}"
    return _judged(judge_above, limit, accuracy.binary_recall, interval, why, "the set holds no attack")


def _provable(rows: int, limit: float) -> str:
    """What this many rows can prove of an error rate; nothing is asked where there is no limit."""
    if not 0.0 < limit < 1.0:
        return ""
    most = required_false_positives(rows, limit)
    if most is None:
        return f"even 0 would prove nothing below {limit * 100:.2f} % here: that takes {benign_needed(limit):,} texts"
    return f"at most {most:,} prove a rate below {limit * 100:.2f} %"


def _not_measured(limit: float, why: str) -> Judgement:
    return Judgement(measured=None, limit=limit, interval=None, verdict="not measured", margin=None, sentence=why)
