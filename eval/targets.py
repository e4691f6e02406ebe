"""Whether measured figures meet the targets: met or missed only where the whole interval says so."""

from __future__ import annotations

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
    counts = accuracy.confusion_matrix
    attacks, benign = counts.tp + counts.fn, counts.fp + counts.tn
    found = {
        "latency": _time(limits.p95_ms, latency, "p95_ms"),
        "size": _exact(limits.model_size_mb, resources.model_size_mb, "every byte of the folder"),
        "accuracy": _f1(limits.binary_f1, accuracy),
        "fpr": _errors(limits.false_positive_rate, counts.fp, benign, accuracy, "benign texts flagged"),
        "recall": _recall(limits.binary_recall, counts.fn, attacks, accuracy),
        "memory": _exact(limits.memory_usage_mb, resources.memory_usage_mb, "peak of a process of its own"),
        "latency_p50": _time(limits.p50_ms, latency, "p50_ms"),
        "latency_p99": _time(limits.p99_ms, latency, "p99_ms"),
    }
    return {name: judgement for name, judgement in found.items() if judgement is not None}


def judge_above(measured: float, interval: Interval, limit: float) -> tuple[Word, float]:
    """A figure wanted above its limit: the verdict, and the margin of the interval's nearer end."""
    low, high = interval
    word: Word = "met" if low > limit else "missed" if high <= limit else "undecided"
    return word, (high if word == "missed" else low) - limit


def judge_below(measured: float, interval: Interval, limit: float) -> tuple[Word, float]:
    """A figure wanted below its limit."""
    low, high = interval
    word: Word = "met" if high < limit else "missed" if low >= limit else "undecided"
    return word, limit - (low if word == "missed" else high)


def _time(limit: float | None, latency: Latency | None, name: str) -> Judgement | None:
    if limit is None:
        return None
    if latency is None:
        return _not_measured(limit, "latency was not measured")
    measured: float = getattr(latency, name)
    low, high = getattr(latency.intervals, name)
    # Other work on the machine only ever slows a call down, so noise widens the interval downwards.
    interval = (low / max(latency.noise.slowdown, 1.0), high)
    word, margin = judge_below(measured, interval, limit)
    noise = "" if latency.noise.trusted else "; the machine was too noisy to trust it"
    why = f"{latency.calls:,} calls, one text each, {latency.threads} thread(s){noise}"
    return Judgement(measured=measured, limit=limit, interval=interval, verdict=word, margin=margin, sentence=why)


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
    if limit is None:
        return None
    f1, interval = accuracy.binary_f1, accuracy.intervals.binary_f1
    if f1 is None:
        return _not_measured(limit, "F1 needs attacks and benign texts")
    if interval is None:
        word: Word = "missed" if f1 <= limit else "undecided"
        why = "no interval was computed"
        return Judgement(measured=f1, limit=limit, interval=None, verdict=word, margin=f1 - limit, sentence=why)
    word, margin = judge_above(f1, interval, limit)
    say = {
        "met": "the whole interval lies above the limit",
        "missed": "the whole interval lies at or below the limit",
        "undecided": "the limit lies inside the interval: more texts, or another margin, would decide",
    }
    return Judgement(measured=f1, limit=limit, interval=interval, verdict=word, margin=margin, sentence=say[word])


def _errors(limit: float | None, wrong: int, rows: int, accuracy: Accuracy, what: str) -> Judgement | None:
    if limit is None:
        return None
    rate, interval = accuracy.false_positive_rate, accuracy.intervals.false_positive_rate
    if rate is None or interval is None:
        return _not_measured(limit, "the set holds no benign text")
    word, margin = judge_below(rate, interval, limit)
    return Judgement(
        measured=rate, limit=limit, interval=interval, verdict=word, margin=margin,
        sentence=f"{wrong:,} of {rows:,} {what}; {_provable(wrong, rows, limit)}",
    )  # fmt: skip


def _recall(limit: float | None, missed: int, rows: int, accuracy: Accuracy) -> Judgement | None:
    if limit is None:
        return None
    recall, interval = accuracy.binary_recall, accuracy.intervals.binary_recall
    if recall is None or interval is None:
        return _not_measured(limit, "the set holds no attack")
    word, margin = judge_above(recall, interval, limit)
    return Judgement(
        measured=recall, limit=limit, interval=interval, verdict=word, margin=margin,
        sentence=f"{missed:,} of {rows:,} attacks missed; {_provable(missed, rows, 1 - limit)}",
    )  # fmt: skip


def _provable(wrong: int, rows: int, limit: float) -> str:
    """What this many rows can prove of an error rate."""
    most = required_false_positives(rows, limit)
    if most is None:
        return f"even 0 would prove nothing below {limit:.2%} here: that takes {benign_needed(limit):,} texts"
    return f"at most {most:,} prove a rate below {limit:.2%}"


def _not_measured(limit: float, why: str) -> Judgement:
    return Judgement(measured=None, limit=limit, interval=None, verdict="not measured", margin=None, sentence=why)
