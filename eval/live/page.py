"""A live model's health for people: on the terminal, and as one HTML file."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from eval.cells import Cells, amount, interval, print_table, share
from eval.printable import printable
from eval.schema.live import Alarm, Check, Health, Level

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from eval.pages.figure import Picture

TITLES = {
    "p95_ms": "latency P95, ms",
    "false_positive_rate": "false-positive rate",
    "false_negative_rate": "false-negative rate",
    "error_rate": "failed calls",
    "score_drift": "drift of scores, PSI",
    "length_drift": "drift of lengths, PSI",
}
HEAD = ("Figure", "Now", "95 % interval", "Warning", "Critical", "Level", "Why")
MARKS: dict[Level, str] = {"critical": "✗", "warning": "!", "undecided": "?", "ok": "✓", "not measured": "–"}
TONES: dict[Level, str] = {"critical": "missed", "warning": "undecided", "undecided": "undecided", "ok": "met",
                           "not measured": "not-measured"}  # fmt: skip
"""The stylesheet's colours."""


def rows(health: Health) -> Cells:
    """One row a check."""
    return [
        (TITLES[one.name], written(one), between(one), *levels(one.alarm), one.level, one.sentence)
        for one in health.checks
    ]


def written(one: Check) -> str:
    """The figure."""
    return amount(one.value) if one.name == "p95_ms" else share(one.value)


def between(one: Check) -> str:
    """Its interval."""
    return interval(one.interval, amount if one.name == "p95_ms" else share)


def levels(alarm: Alarm) -> tuple[str, str]:
    """Both levels; a dash where there is no warning."""
    return "–" if alarm.warning is None else f"{alarm.warning:g}", f"{alarm.critical:g}"


def print_health(health: Health) -> None:
    """A table, then the notes and the verdict, a line each."""
    about = f"{health.model}, {health.first} to {health.last}: {health.lines:,} lines, {health.flagged:,} flagged"
    print_table(HEAD, rows(health), [about])
    for note in health.notes:
        print(printable(note))
    print(f"{health.level}: status {health.status}")


def to_html(health: Health) -> str:
    """The page; the same health gives the same bytes."""
    from eval.pages.page import render

    values = {
        "health": health,
        "head": HEAD,
        "rows": [
            (MARKS[one.level], TONES[one.level], cells) for one, cells in zip(health.checks, rows(health), strict=True)
        ],
        "mark": MARKS[health.level],
        "tone": TONES[health.level],
        "pictures": _pictures(health),
    }
    return render("monitor.html.j2", values)


def _pictures(health: Health) -> list[Picture]:
    if len(health.windows) < 2:
        return []
    alarm = next(one.alarm for one in health.checks if one.name == "p95_ms")
    timed = [(at, one.p95_ms) for at, one in zip(_times(health), health.windows, strict=True) if one.p95_ms is not None]
    width = f"Windows of {health.window_seconds / 60:g} minutes"
    lines = [value for value in (alarm.warning, alarm.critical) if value is not None]
    parts = {"flagged": 0, "failed": 1}
    shares = {
        name: [(at, getattr(one, name) / one.lines) for at, one in zip(_times(health), health.windows, strict=True)]
        for name in parts
    }
    legend = tuple(parts.items())
    return [
        _course({"": timed}, "Latency P95", "milliseconds", f"{width}. Dashed: the two levels.", lines, ()),
        _course(shares, "Flagged and failed", "share of lines", f"{width}.", [], legend),
    ]


def _times(health: Health) -> list[datetime]:
    return [datetime.fromisoformat(one.start) for one in health.windows]


def _course(
    series: dict[str, list[tuple[datetime, float]]],
    title: str,
    unit: str,
    caption: str,
    limits: list[float],
    legend: tuple[tuple[str, int], ...],
) -> Picture:
    from eval.pages.figure import ATTACK, SERIES, picture

    def draw(axes: list[Axes]) -> None:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num

        axis = axes[0]
        for points, colour in zip(series.values(), SERIES, strict=False):
            times = [float(date2num(at)) for at, _ in points]
            axis.plot(times, [value for _, value in points], color=colour, marker="o", markersize=2.5)
        for limit in limits:
            axis.axhline(limit, color=ATTACK, linewidth=1, linestyle=(0, (4, 2)))
        axis.set(ylabel=unit, xlabel="time, UTC")
        axis.set_ylim(bottom=0)
        locator = AutoDateLocator(maxticks=6)
        axis.xaxis.set_major_locator(locator)
        axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))

    return picture(draw, title, caption, legend=legend)
