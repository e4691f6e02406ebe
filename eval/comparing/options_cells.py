"""The cells of the table of options, in sensible digits."""

from __future__ import annotations

from collections.abc import Mapping

from eval.cells import NONE, Cells, amount, interval, share, with_interval
from eval.comparing.expectations import SHARES
from eval.schema import Interval
from eval.schema.options import Expectation, Figure, Row, Table

HEAD = (
    "Option", "F1 (95 %)", "to the reference, paired (95 %)", "p, Holm", "Recall", "FPR (95 %)", "Mean, ms",
    "P95, ms (95 %)", "P95, times the reference's (95 %)", "MB", "of which heads", "RAM, MB", "Targets missed",
)  # fmt: skip
SHORT = ("Option", "F1", "to ref.", "FPR", "P95, ms", "MB", "Missed")
ORIGIN_HEAD = ("Option", "Checkpoint", "Runs as", "What it lacked or had instead", "Made by", "Report")
EXPECTED_HEAD = ("Option", "Source", "Figure", "Expected", "Measured", "95 % interval", "Verdict")
MISSING_HEAD = ("Option", "Why", "What it will lack or have instead", "Made by")
FIGURES: Mapping[Figure, str] = {
    "model_size_mb": "size, MB",
    "heads_mb": "heads, MB",
    "mean_ms": "mean, ms",
    "p95_ms": "P95, ms",
    "binary_f1": "F1",
    "false_positive_rate": "FPR",
}
WORDS = {"accuracy": "F1", "fpr": "FPR", "latency": "P95", "latency_p50": "P50", "latency_p99": "P99"}
DOUBTED = "~"
"""Before milliseconds from a machine that was too noisy."""


def option_rows(table: Table) -> Cells:
    """The table itself, cells as in `HEAD`."""
    return [
        (
            row.name,
            with_interval(row.binary_f1, row.binary_f1_interval),
            difference(row, table.reference),
            _holm(row),
            share(row.binary_recall, NONE),
            with_interval(row.false_positive_rate, row.false_positive_rate_interval),
            _milliseconds(row, row.mean_ms, None),
            _milliseconds(row, row.p95_ms, row.p95_interval),
            _ratio(row, table.reference),
            amount(row.model_size_mb),
            amount(row.heads_mb),
            amount(row.memory_usage_mb),
            missed(row),
        )
        for row in table.rows
    ]


def origin_rows(table: Table) -> Cells:
    """Where each row comes from, cells as in `ORIGIN_HEAD`."""
    return [
        (
            row.name,
            row.checkpoint,
            row.precision or NONE,
            row.stand_in or NONE,
            "; ".join(row.build),
            f"{row.report}{' (was there)' if row.taken_over else ''}",
        )
        for row in table.rows
    ]


def expected_rows(table: Table) -> Cells:
    """Each estimate beside its measurement, cells as in `EXPECTED_HEAD`."""
    return [
        (
            row.name,
            one.source,
            FIGURES[one.figure],
            " to ".join(f"{end:g}" for end in dict.fromkeys(one.expected)),
            _form(one, one.measured),
            interval(one.interval, lambda value, one=one: _form(one, value)),  # type: ignore[misc]
            verdict(one),
        )
        for row in table.rows
        for one in row.expectations
    ]


def missing_rows(table: Table) -> Cells:
    """What is not in the table, cells as in `MISSING_HEAD`."""
    return [(one.name, one.reason, one.stand_in or NONE, "; ".join(one.build)) for one in table.missing]


def difference(row: Row, reference: str | None) -> str:
    """F1 less the reference's, with its paired interval."""
    if row.name == reference:
        return "reference"
    change = row.changes.get("binary_f1")
    if change is None or change.difference is None or change.interval is None:
        return NONE
    return f"{change.difference:+.3f} ({change.interval[0]:+.3f} to {change.interval[1]:+.3f})"


def verdict(one: Expectation) -> str:
    """The verdict in words, with how far off."""
    if one.off is None:
        return one.verdict
    off = f"{one.off:+.4f}" if one.figure in SHARES else f"{one.off:.3g} times as much"
    return f"{one.verdict}: {off}"


def missed(row: Row) -> str:
    """The targets that are missed for certain, else those that are not decided."""
    names = [WORDS.get(name, name) for name, met in row.targets.items() if met is False]
    open_ones = [WORDS.get(name, name) for name, met in row.targets.items() if met is None]
    return ", ".join(names) or (f"none; undecided: {', '.join(open_ones)}" if open_ones else "none")


def _milliseconds(row: Row, value: float | None, bounds: Interval | None) -> str:
    if value is None:
        return NONE
    around = f" ({amount(bounds[0])}–{amount(bounds[1])})" if bounds else ""
    return f"{'' if row.trusted else DOUBTED}{amount(value)}{around}"


def _ratio(row: Row, reference: str | None) -> str:
    ratio = row.p95_ratio
    if row.name == reference and row.p95_ms is not None:
        return "1"
    if ratio is None or ratio.ratio is None or ratio.interval is None:
        return NONE
    return f"{ratio.ratio:.3f} ({ratio.interval[0]:.3f}–{ratio.interval[1]:.3f})"


def _holm(row: Row) -> str:
    change = row.changes.get("binary_f1")
    value = change.adjusted_p_value if change else None
    return NONE if value is None else f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _form(one: Expectation, value: float | None) -> str:
    return share(value) if one.figure in SHARES else amount(value)
