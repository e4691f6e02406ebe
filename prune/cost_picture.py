"""The cost of every layer and head as two heat maps: F1 lost, and how far the embeddings move."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from prune.cost_table import Costs, lost

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def tables(costs: Costs) -> tuple[NDArray[np.float64], NDArray[np.float64], list[int]]:
    """F1 lost in points and 1 - cosine, (layers, 1 + heads) each: the whole layer, then its heads, NaN where one is
    missing; and the heads of the columns.
    """
    columns = sorted({head for heads in costs.heads for head in heads})
    found = np.full((2, len(costs.layers), 1 + len(columns)), np.nan)
    for number, (layer, heads) in enumerate(zip(costs.layers, costs.heads, strict=True)):
        for place, worth in [(0, layer), *((1 + columns.index(head), worth) for head, worth in heads.items())]:
            found[:, number, place] = lost(costs.whole, worth), 1 - worth.cosine
    return found[0], found[1], columns


def draw(costs: Costs, path: Path) -> None:
    """Writes a PNG: a row a layer, a column a head, at the left the whole layer."""
    from matplotlib.figure import Figure

    f1, cosine, columns = tables(costs)
    figure = Figure(figsize=(3 + 1.1 * len(columns), 1.6 + 0.5 * len(f1)), layout="constrained")
    left, right = figure.subplots(1, 2)
    _panel(left, f1, columns, "F1 lost, points", 2)
    _panel(right, cosine, columns, "1 - cosine to the whole", 3)
    figure.savefig(path, dpi=120, metadata={"Software": None})


def _panel(panel: Axes, table: NDArray[np.float64], columns: list[int], title: str, digits: int) -> None:
    # A whole layer costs more than any head: the colours are scaled to the heads, or these would all look alike.
    most = float(np.nanmax(np.abs(table[:, 1:]))) or 1.0
    panel.imshow(table, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        if np.isfinite(value):
            dark = "white" if abs(value) > 0.7 * most else "black"
            panel.text(column, row, f"{value:.{digits}f}", ha="center", va="center", size=6, color=dark)
    panel.set_xticks(range(1 + len(columns)), ["all", *map(str, columns)])
    panel.set_yticks(range(len(table)))
    panel.grid(False)  # whatever style the caller has
    panel.set(title=title, xlabel="without this head", ylabel="layer")
