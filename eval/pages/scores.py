"""Pictures of the served probability: how it is spread over attacks and benign texts, and whether it is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from eval.figures import DECISION
from eval.kept import Kept
from eval.metrics import wilson
from eval.pages.figure import ATTACK, BENIGN, FAINT, INK, Picture, picture, plain_ticks, round_values
from eval.schema import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLOCK = 0.8
"""Above it consumers block; from 0.5 they warn."""


def spread(kept: Kept) -> Picture:
    """How many texts got which attack probability (logarithmic counts); saturated: on the wrong side of 0.5."""
    probability, labels = kept.predictions.attack_probability, kept.rows.labels
    edges = np.linspace(0, 1, 41)  # 0.5 and 0.8 are edges, and each bar holds its left edge as the decision does
    kinds = [
        (ATTACK, "attacks", labels == 1, edges[:-1] < DECISION),
        (BENIGN, "benign", labels == 0, edges[:-1] >= DECISION),
    ]
    there = [(colour, name, here, wrong) for colour, name, here, wrong in kinds if here.any()]

    def draw(axes: list[Axes]) -> None:
        top = 1.0
        for axis, (colour, name, here, wrong) in zip(axes, there, strict=True):
            counts, _ = np.histogram(probability[here], edges)
            top = max(top, counts.max())
            for which, alpha in ((~wrong, 0.35), (wrong, 1.0)):
                axis.bar(edges[:-1][which], counts[which], 0.025, align="edge", color=colour, alpha=alpha, linewidth=0)
            said = "missed" if name == "attacks" else "flagged"
            axis.set_title(f"{name}: {counts[wrong].sum():,} of {counts.sum():,} {said}", color=colour)
            for line, name in ((DECISION, "warn"), (BLOCK, "block")):
                axis.axvline(line, color=INK, linewidth=0.8, linestyle=(0, (4, 2)))
                at = (line, 1.0)
                axis.annotate(
                    name, at, xycoords=("data", "axes fraction"), xytext=(3, 2), textcoords="offset points", color=FAINT
                )
            axis.set(yscale="log", xlim=(0, 1), ylabel="texts")
        for axis in axes:
            axis.set_ylim(0.7, top * 2)
            plain_ticks(axis, "y", round_values(1, top * 2, (1,)))
        axes[-1].set_xlabel("attack probability, as served")
        axes[-1].set_xticks([0, 0.2, 0.4, 0.5, 0.6, 0.8, 1])

    return picture(
        draw,
        "Scores of attacks and benign texts",
        "Consumers warn from 0.5, where the decision is made, and block from 0.8. Full colour: on the wrong side of"
        " 0.5. Counts are logarithmic.",
        panels=(1.0,) * len(there),
        height=0.8 + 1.1 * len(there),
    )


def reliability(report: Report) -> Picture:
    """Share of attacks against the probability that was said, with the rows behind each point."""
    bars = [bar for bar in report.accuracy.reliability if bar.rows]

    def draw(axes: list[Axes]) -> None:
        upper, lower = axes
        upper.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)))
        for bar in bars:
            if bar.mean_probability is None or bar.attack_share is None:
                continue
            low, high = wilson(round(bar.attack_share * bar.rows), bar.rows)
            upper.plot([bar.mean_probability] * 2, [low, high], color=BENIGN, linewidth=1.2)
            upper.plot([bar.mean_probability], [bar.attack_share], "o", color=BENIGN, markersize=4.5)
        upper.set(xlim=(0, 1), ylim=(-0.02, 1.02), ylabel="share of attacks")
        widths = [bar.high - bar.low for bar in bars]
        lower.bar([bar.low for bar in bars], [bar.rows for bar in bars], widths, align="edge", color=BENIGN, alpha=0.35)
        most = max((bar.rows for bar in bars), default=1)
        lower.set(yscale="log", ylim=(0.7, most * 2), ylabel="texts", xlabel="mean attack probability, as served")
        plain_ticks(lower, "y", round_values(1, most * 2, (1,))[::2])

    right = report.accuracy
    return picture(
        draw,
        "Reliability",
        f"On the dotted line a probability means what it says. Expected calibration error"
        f" {right.expected_calibration_error:.4f}, Brier score {right.brier_score:.4f}. The operating point is built"
        " into the probability, so it is moved on purpose: it ranks and decides, it is no frequency.",
        panels=(3.0, 1.0),
    )
