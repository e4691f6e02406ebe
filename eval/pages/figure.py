"""matplotlib figures as SVG inside a page: same bytes every time, in the page's own type and colours."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

INK, FAINT, GRID = "#1b1f24", "#68707a", "#d9dde2"
ATTACK, BENIGN, GOOD = "#c8500a", "#0066a8", "#00795c"
SERIES = ("#0066a8", "#c8500a", "#00795c", "#a63d8f", "#8a6d00", "#3d8fb8", "#7a4a2b", "#555e9e")
"""Blue, vermilion, green, purple and so on after Okabe and Ito (2008): told apart with any colour vision."""
VARIABLES = {INK: "--ink", FAINT: "--faint", GRID: "--line", ATTACK: "--attack", BENIGN: "--benign", GOOD: "--good"}
VARIABLES |= {colour: f"--series-{index}" for index, colour in enumerate(SERIES[3:], 3)}
"""The stylesheet's name of each colour, so that a picture follows the page into the dark."""
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small, selectable, in the page's type
    "svg.hashsalt": "raxe",  # ids follow from the content alone
    "text.parse_math": False,  # `$` in a name is a dollar
    "axes.formatter.use_mathtext": False,
    "font.size": 8.0,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 8.0,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.5,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
}
Draw = Callable[["list[Axes]"], None]


@dataclass(frozen=True)
class Picture:
    """One picture with what it shows in words."""

    svg: Markup
    title: str
    caption: str
    legend: tuple[tuple[str, int], ...] = ()
    """Names with their place in `SERIES`, written beside the picture: foreign words stay out of it."""


def picture(
    draw: Draw,
    title: str,
    caption: str,
    *,
    height: float = 3.0,
    width: float = 4.8,
    panels: tuple[float, ...] = (1.0,),
    legend: tuple[tuple[str, int], ...] = (),
) -> Picture:
    """Draws on one or more panels above each other (their relative heights), inches, and returns inline SVG.

    Title and caption become the picture's label for those who cannot see it.
    """
    import matplotlib
    from markupsafe import Markup, escape
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.patch.set_visible(False)
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=panels)[:, 0]
        for axis in axes:
            axis.patch.set_visible(False)
        draw(list(axes))
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    # matplotlib escapes what it writes; the label is escaped here.
    label = f'role="img" aria-label="{escape(title)}. {escape(caption)}"'
    return Picture(Markup(_inline(written.getvalue(), label)), title, caption, legend)


def _inline(document: str, label: str) -> str:
    """The drawing without what only a file of its own needs, and with the page's variables for its colours."""
    drawing = document[document.index("<svg") :].strip()
    head, _, body = drawing.partition(">")
    box = re.search(r'viewBox="[^"]*"', head)
    body = re.sub(r"<style[^>]*>.*?</style>", "", body, flags=re.DOTALL)  # would reach the whole page
    body = re.sub(r'<g id="[^"]*">', "<g>", body)  # the same in every picture
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", body)
    body = re.sub(r"\n\s*", "\n", body)
    for colour, name in VARIABLES.items():
        body = body.replace(colour, f"var({name})")
    return f"<svg {box[0] if box else ''} {label}>{body}"


def plain_ticks(axis: Axes, which: str, values: Iterable[float], unit: str = "") -> None:
    """Ticks at these values, written as plain numbers."""
    line = axis.xaxis if which == "x" else axis.yaxis
    chosen = list(values)
    line.set_ticks(chosen, [f"{value:,g}{unit}" for value in chosen])
    line.set_ticks([], minor=True)


def round_values(low: float, high: float, steps: tuple[float, ...] = (1, 2, 5)) -> list[float]:
    """1, 2, 5, 10, 20 … from `low` to `high` (both above 0), thinned to at most eight; in a narrow range evenly."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    found = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
    if len(found) > 8 and len(steps) > 1:
        return round_values(low, high, (1, 3) if len(steps) > 2 else (1,))
    if len(found) < 2 and high > low:
        step = 10.0 ** np.floor(np.log10(high - low)) / 2
        return [float(number * step) for number in range(int(np.ceil(low / step)), int(high / step) + 1)][::2]
    return found


def dots(axis: Axes, x: NDArray[np.floating], y: NDArray[np.floating], colour: str, size: float, alpha: float) -> None:
    """Many points as one path, about 20 bytes each where markers would take 100: strokes of no length, round ends."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    corners = np.repeat(np.column_stack([x, y]), 2, axis=0)  # (2n, 2)
    path = Path(corners, np.tile([Path.MOVETO, Path.LINETO], len(x)))
    path.should_simplify = False
    patch = PathPatch(path, fill=False, edgecolor=colour, linewidth=size, capstyle="round", alpha=alpha)
    axis.add_patch(patch)
    axis.update_datalim(corners)
    axis.autoscale_view()
