"""Pictures of the clock: latency by length of the text, and over the calls beside the machine's own noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eval.kept import Calls, Kept
from eval.pages.figure import ATTACK, BENIGN, FAINT, GOOD, Picture, dots, picture, plain_ticks, round_values
from eval.schema import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_DOTS = 1500
PARTS, WINDOWS = 10, 25


def by_length(report: Report, kept: Kept) -> Picture | None:
    """Every timed call at its text's length, with the P50 and P95 of ten parts of equally many calls."""
    if kept.calls is None:
        return None
    lengths = np.array([max(len(kept.rows.texts[row]), 1) for row in kept.calls.row], dtype=np.float64)
    spent = np.maximum(kept.calls.total, 1) / 1e6
    shown = np.unique(np.linspace(0, len(spent) - 1, MOST_DOTS).astype(int))
    parts = [part for part in np.array_split(np.argsort(lengths, kind="stable"), PARTS) if len(part)]
    middles = [float(np.median(lengths[part])) for part in parts]
    low, high = float(spent.min()) * 0.8, float(spent.max()) * 1.25

    def draw(axes: list[Axes]) -> None:
        axis = axes[0]
        dots(axis, lengths[shown], spent[shown], BENIGN, 2.2, 0.35)
        for percent, colour, shift in ((50, BENIGN, -6), (95, ATTACK, 2)):
            values = [float(np.percentile(spent[part], percent)) for part in parts]
            axis.plot(middles, values, color=colour, marker="o", markersize=3)
            axis.annotate(
                f"P{percent}", (middles[-1], values[-1]), xytext=(6, shift), textcoords="offset points", color=colour
            )
        bounds = _limits(axis, report)
        axis.set(xscale="log", yscale="log", xlabel="characters of the text, logarithmic", ylabel="milliseconds")
        axis.set_xlim(lengths.min() * 0.85, lengths.max() * 1.6)
        axis.set_ylim(min([low, *bounds]), max([high, *(bound * 1.2 for bound in bounds)]))
        for which, (start, end) in (("x", axis.get_xlim()), ("y", axis.get_ylim())):
            plain_ticks(axis, which, round_values(start, end))

    kept_back = f" {len(shown):,} of {len(spent):,} calls are drawn." if len(shown) < len(spent) else ""
    return picture(
        draw,
        "Latency by length of the text",
        "A dot is one call, text in, decision out. The lines are the P50 and P95 of ten parts with equally many calls;"
        f" dashed: the limits for the P50, P95 and P99 of all calls.{kept_back}",
    )


def _limits(axis: Axes, report: Report) -> list[float]:
    limits = report.targets
    named = {"P50": limits.p50_ms, "P95": limits.p95_ms, "P99": limits.p99_ms}
    for name, limit in named.items():
        if limit is not None:
            axis.axhline(limit, color=GOOD, linewidth=0.9, linestyle=(0, (4, 2)))
            axis.annotate(
                f"limit {name} {limit:g}",
                (0.01, limit),
                xycoords=("axes fraction", "data"),
                xytext=(0, 2),
                textcoords="offset points",
                color=GOOD,
                fontsize=7,
            )
    return [limit for limit in named.values() if limit is not None]


def over_the_calls(report: Report, kept: Kept) -> Picture | None:
    """P50 and P95 in the order of the calls, above the fixed workload that ran between them."""
    calls = kept.calls
    if calls is None or report.latency is None:
        return None
    spent, windows = calls.total / 1e6, _windows(calls)
    middles = [float(window.mean()) + 1 for window in windows]
    measured = np.flatnonzero(calls.reference >= 0)

    def draw(axes: list[Axes]) -> None:
        for percent, colour in ((50, BENIGN), (95, ATTACK)):
            values = [float(np.percentile(spent[window], percent)) for window in windows]
            axes[0].plot(middles, values, color=colour)
            axes[0].annotate(
                f"P{percent}", (middles[-1], values[-1]), xytext=(5, -2), textcoords="offset points", color=colour
            )
        axes[0].set(ylabel="call, ms", ylim=(0, None))
        if len(axes) > 1:
            dots(axes[1], measured + 1.0, calls.reference[measured] / 1e6, FAINT, 1.8, 0.7)
            axes[1].set(ylabel="workload, ms", ylim=(0, None))
        axes[-1].set(xlim=(1, len(spent) * 1.06), xlabel="number of the call")

    below = ", below it the fixed workload that ran between the calls: what moves there is the machine"
    return picture(
        draw,
        "Latency over the calls",
        f"Above P50 and P95 of {len(windows)} windows{below if len(measured) else ''}.",
        panels=(2.0, 1.2) if len(measured) else (1.0,),
    )


def _windows(calls: Calls) -> list[NDArray[np.int64]]:
    order = np.arange(len(calls.row))
    return [part for part in np.array_split(order, min(WINDOWS, max(len(order) // 20, 1))) if len(part)]
