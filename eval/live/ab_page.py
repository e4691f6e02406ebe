"""An A/B test for people: a table of the figures, the rollback rule, the notes."""

from __future__ import annotations

from eval.cells import print_table
from eval.printable import printable
from eval.schema.live_ab import ABTest, Compared

HEAD = ("Figure", "A", "B", "B - A", "95 % interval", "p (Holm)", "Verdict", "Effect", "Lines needed", "missing")
TITLES = {
    "p50_ms": "latency P50, ms",
    "p95_ms": "latency P95, ms",
    "false_positive_rate": "false-positive rate",
    "false_negative_rate": "false-negative rate",
    "error_rate": "failed calls",
}


def print_test(test: ABTest, meaning: str) -> None:
    """The figures, the rollback rule, the notes, the verdict."""
    about = [
        f"{name}: {arm.model} ({arm.log}), {arm.lines:,} lines, {arm.labelled:,} labelled"
        for name, arm in (("A", test.a), ("B", test.b))
    ]
    print_table(HEAD, [cells(one) for one in test.compared], about)
    for one in test.rollback:
        value = "not measured" if one.value is None or one.interval is None else (
            f"{one.value:.4f} ({one.interval[0]:.4f} to {one.interval[1]:.4f})"
        )  # fmt: skip
        word = {"critical": "BROKEN", "warning": "over, without proof", "ok": "kept"}.get(one.level, one.level)
        print(f"rollback, {TITLES[one.name]} at most {one.alarm.critical:g}: {word}; {value}; {one.sentence}")
    for note in test.notes:
        print(printable(note))
    print(f"status {test.status}: {meaning}")


def cells(one: Compared) -> tuple[str, ...]:
    """A figure as a row."""
    decimals = 3 if one.name.endswith("_ms") else 4
    before, after = (f"{value:.{decimals}f}" if value is not None else "–" for value in (one.before, one.after))
    if one.difference is None or one.interval is None or one.adjusted_p_value is None:
        return TITLES[one.name], before, after, *["–"] * 3, one.verdict, *["–"] * 3
    return (
        TITLES[one.name],
        before,
        after,
        f"{one.difference:+.{decimals}f}",
        f"{one.interval[0]:+.{decimals}f} to {one.interval[1]:+.{decimals}f}",
        f"{one.adjusted_p_value:.3g}",
        one.verdict,
        f"{one.effect:.{decimals}f}",
        f"{one.lines_needed:,}",
        f"{one.lines_missing:,}",
    )
