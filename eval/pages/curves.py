"""Pictures of the ranking: what any other threshold would have given, and where the served decision lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from eval.kept import Kept
from eval.metrics.ranking import precision_recall_curve, roc_curve
from eval.pages.figure import ATTACK, BENIGN, FAINT, GOOD, Picture, picture, plain_ticks, round_values
from eval.schema import Interval, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def receiver(report: Report, kept: Kept) -> Picture | None:
    """Recall against false-positive rate (logarithmic, because the interesting part is below 1 %), any threshold."""
    right = report.accuracy
    if right.auroc is None:
        return None
    rates, recalls, _ = roc_curve(kept.rows.labels, kept.predictions.attack_probability)
    matrix, limit = right.confusion_matrix, report.targets.false_positive_rate
    left = max(10.0 ** np.floor(np.log10(1 / (matrix.fp + matrix.tn))), 1e-4)

    def draw(axes: list[Axes]) -> None:
        axis = axes[0]
        axis.step(np.maximum(rates, left), recalls, where="post", color=BENIGN)
        chance = np.geomspace(left, 1, 60)
        axis.plot(chance, chance, color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)))
        if limit:
            axis.axvline(limit, color=GOOD, linewidth=1, linestyle=(0, (4, 2)))
            axis.annotate(f" limit {limit:.3g}", (limit, 0.12), color=GOOD, fontsize=7.5)
        across = right.false_positive_rate, right.intervals.false_positive_rate
        _operating_point(axis, across, (right.binary_recall, right.intervals.binary_recall), left)
        axis.set(xscale="log", xlim=(left, 1), ylim=(0, 1.02), ylabel="recall")
        axis.set_xlabel("false-positive rate, logarithmic")
        plain_ticks(axis, "x", round_values(left, 1, (1,)))
        axis.annotate("chance", (0.35, 0.35), xytext=(3, -9), textcoords="offset points", color=FAINT, fontsize=7.5)

    return picture(
        draw,
        "ROC curve",
        f"AUROC {right.auroc:.4f}. The dot is the served decision, with the 95 % intervals of both rates.",
    )


def precision_recall(report: Report, kept: Kept) -> Picture | None:
    """Precision against recall, any threshold; the dotted line is what flagging everything would give."""
    right = report.accuracy
    if right.average_precision is None:
        return None
    precisions, recalls, _ = precision_recall_curve(kept.rows.labels, kept.predictions.attack_probability)
    base = float(np.mean(kept.rows.labels))

    def draw(axes: list[Axes]) -> None:
        axis = axes[0]
        axis.plot(recalls, precisions, color=BENIGN)
        axis.axhline(base, color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)))
        axis.annotate("everything flagged", (0.01, base), xytext=(0, 3), textcoords="offset points", color=FAINT)
        across = right.binary_recall, right.intervals.binary_recall
        _operating_point(axis, across, (right.binary_precision, right.intervals.binary_precision))
        axis.set(xlim=(0, 1.01), ylim=(0, 1.02), xlabel="recall", ylabel="precision")

    return picture(
        draw,
        "Precision and recall",
        f"Average precision {right.average_precision:.4f} with {base:.0%} attacks among the texts. The dot is the"
        " served decision.",
    )


Rate = tuple[float | None, Interval | None]


def _operating_point(axis: Axes, across: Rate, up: Rate, left: float = 0.0) -> None:
    """The served decision with the intervals of both its rates; `left` is where the axis begins."""
    (x, x_interval), (y, y_interval) = across, up
    if x is None or y is None:
        return
    (x_low, x_high), (y_low, y_high) = x_interval or (x, x), y_interval or (y, y)
    at = max(x, left), y
    axis.plot([max(x_low, left), x_high], [y, y], color=ATTACK, linewidth=1.2)
    axis.plot([at[0]] * 2, [y_low, y_high], color=ATTACK, linewidth=1.2)
    axis.plot(*at, "o", color=ATTACK, markersize=5, clip_on=False)
    right = at[0] > 0.7  # no room for the word beside the dot
    axis.annotate(
        "served", at, xytext=(-7 if right else 7, -12), textcoords="offset points", color=ATTACK, fontweight="bold",
        ha="right" if right else "left",
    )  # fmt: skip
