"""How F1 moved: over the time of judging, or over the steps of a training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from eval.pages.figure import SERIES, Picture, picture
from eval.pages.runs import Run, Step
from eval.pages.words import moment
from eval.schema import Accuracy, Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Place = tuple[float, float, Interval | None]
"""Where on the axis, F1, its interval."""
Lines = dict[str, list[Place]]


def over_time(every: Iterable[Run]) -> Picture | None:
    """F1 of each checkpoint by the time of judging; None where none was judged twice."""
    from matplotlib.dates import date2num

    lines: Lines = {}
    for run in every:
        if (at := moment(run.report.timestamp)) is not None:
            _add(lines, run.name, float(date2num(at)), run.report.accuracy)
    return _trend(lines, "F1 over time", "when it was judged", dated=True)


def over_steps(steps: Iterable[Step]) -> Picture | None:
    """F1 of the step checkpoints of each stage; None where none has two."""
    lines: Lines = {}
    for step in steps:
        _add(lines, step.stage, float(step.step), step.report.accuracy)
    return _trend(lines, "F1 on validation while training", "step", dated=False)


def _add(lines: Lines, name: str, at: float, right: Accuracy) -> None:
    if right.binary_f1 is not None:
        lines.setdefault(name, []).append((at, right.binary_f1, right.intervals.binary_f1))


def _trend(lines: Lines, title: str, axis_name: str, *, dated: bool) -> Picture | None:
    """Up to eight lines, those with the most points; their names stand beside the picture."""
    long = {name: line for name, line in lines.items() if len(line) > 1}
    if not long:
        return None
    shown = sorted(sorted(long, key=lambda name: (-len(long[name]), name))[: len(SERIES)])

    def draw(axes: list[Axes]) -> None:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        axis = axes[0]
        for name, colour in zip(shown, SERIES, strict=False):
            for at, _, interval in long[name]:
                if interval:
                    axis.plot([at, at], list(interval), color=colour, linewidth=0.8, alpha=0.6)
            ats, values = [at for at, _, _ in long[name]], [value for _, value, _ in long[name]]
            axis.plot(ats, values, color=colour, marker="o", markersize=3.5)
        axis.set(ylabel="F1", xlabel=axis_name)
        if dated:
            locator = AutoDateLocator(maxticks=6)
            axis.xaxis.set_major_locator(locator)
            axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))

    left_out = len(long) - len(shown)
    more = f" {left_out} more with fewer points are left out." if left_out else ""
    legend = tuple((name, index) for index, name in enumerate(shown))
    return picture(draw, title, f"Upright strokes: 95 % intervals.{more}", legend=legend)
