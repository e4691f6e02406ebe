"""A cascade as one HTML file, with a picture of what each setting saves and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eval.cascading import words
from eval.pages.figure import FAINT, SERIES, Picture, picture
from eval.pages.page import render
from eval.schema.cascade import Cascade

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TONES = {"met": "good", "missed": "bad", "undecided": "open", "not measured": "open"}


def to_html(cascade: Cascade) -> str:
    """The page; the same cascade gives the same bytes."""
    values = {
        "cascade": cascade,
        "title": words.title(cascade),
        "how": words.how(cascade),
        "head": words.HEAD,
        "rows": words.rows(cascade),
        "layer_head": words.LAYER_HEAD,
        "layer_rows": words.layer_rows(cascade),
        "remarks": words.remarks(cascade),
        "pictures": [found for found in (saved(cascade),) if found],
        "parts": [part for part in (cascade.model, cascade.first) if part],
    }
    return render("cascade.html.j2", values)


def saved(cascade: Cascade) -> Picture | None:
    """Difference in F1 against the share of texts that the model sees; None where F1 cannot be said."""
    points = [
        (step.reach, change.difference, change.interval)
        for step in cascade.steps
        if (change := step.figures["binary_f1"]).difference is not None and change.interval is not None
    ]
    if not points:
        return None

    def draw(axes: list[Axes]) -> None:
        axis = axes[0]
        axis.axhline(0, color=FAINT, linewidth=0.8)
        axis.axhline(-cascade.limits["f1_loss"], color=FAINT, linewidth=0.8, linestyle=(0, (4, 2)))
        for place, (reach, difference, ends) in enumerate(points):
            colour = SERIES[place % len(SERIES)]
            axis.plot([100 * reach] * 2, list(ends or ()), color=colour, linewidth=1.2)
            axis.plot([100 * reach], [difference], "o", color=colour, markersize=4.5)
        axis.set(xlabel="texts that reach the model, %", ylabel="F1 less the model's alone", xlim=(0, 100))

    legend = tuple((step.name, place % len(SERIES)) for place, step in enumerate(cascade.steps))
    caption = "Upright strokes: 95 % intervals of the paired difference. Dashed: the loss that is allowed."
    return picture(draw, "What each setting saves and costs", caption, legend=legend)
