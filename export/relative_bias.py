"""MPNet's relative-position bias in a graph: one number for each distance laid out for all pairs of tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from export.ends import Cut
from export.writer import Writer

HIDDEN = float(np.finfo(np.float32).min)  # added to the score of a key that is padding


def add_bias(writer: Writer, real: Cut, by_distance: NDArray[np.float32]) -> str:
    """What is added to all scores: bias and padding mask, (batch, heads, longest, longest).

    by_distance: (heads, 2 * reach + 1); entry `reach + d` belongs to a key d places after its query.

    A row of the bias is the row above, moved by one. So each head's circle b(0) … b(n - 1), b(-n) … b(-1) is laid out
    n times and read again in rows of 2n - 1: each begins one place earlier on the circle, and its first n entries are
    the bias. To gather all n * n places one by one takes longer.
    """
    heads, distances = by_distance.shape
    reach = distances // 2
    longest = real.longest
    zero, one, two = (writer.integers(axis) for axis in (0, 1, 2))
    after = writer.constant("bias after", by_distance[:, reach:])  # (heads, reach + 1)
    # b(-n) stands on the circle and is never read; at full length it needs a place, whatever it holds.
    before = writer.constant("bias before", np.concatenate([by_distance[:, :1], by_distance[:, :reach]], axis=1))
    ahead = writer.add("Slice", [after, zero, longest, one], "bias ahead")
    start = writer.add("Sub", [writer.integers(reach + 1), longest], "first before")
    behind = writer.add("Slice", [before, start, writer.integers(reach + 1), one], "bias behind")
    circle = writer.add("Concat", [ahead, behind], "circle", {"axis": 1})  # (heads, 2n)
    often = writer.add("Concat", [one, longest], "circles", {"axis": 0})
    laid = writer.add("Tile", [circle, often], "laid out")  # (heads, n * 2n)
    width = writer.add("Sub", [writer.add("Add", [longest, longest], "circle size"), one], "row size")  # 2n - 1
    used = writer.add("Slice", [laid, zero, writer.add("Mul", [longest, width], "used size"), one], "used")
    rows = writer.add("Concat", [writer.integers(heads, -1), width], "shape of rows", {"axis": 0})
    moved = writer.add("Reshape", [used, rows], "moved rows")  # (heads, n, 2n - 1)
    relative = writer.add("Slice", [moved, zero, longest, two], "relative bias")  # (heads, n, n)
    return writer.add("Add", [relative, _padding(writer, real)], "bias")


def take_heads(writer: Writer, bias: str, heads: Sequence[int], there: int, name: str) -> str:
    """A layer's slice of the bias of all heads: (batch, there, longest, longest) -> (batch, heads, longest, longest).

    Whole planes are copied, which is far less work than laying out a bias for each layer.
    """
    if len(heads) == there:
        return bias
    return writer.add("Gather", [bias, writer.integers(*heads)], name, {"axis": 1})


def _padding(writer: Writer, real: Cut) -> str:
    """(batch, 1, longest, longest): for all queries first, since adding along the last axis alone is slow."""
    absent = writer.add("Sub", [writer.number(1), real.mask], "absent")
    hidden = writer.add("Mul", [absent, writer.constant("hidden score", np.array(HIDDEN, np.float32))], "hidden keys")
    for_all = writer.add("Unsqueeze", [hidden, writer.integers(1)], "hidden from all")  # (batch, 1, 1, longest)
    shape = writer.add("Concat", [writer.integers(1, 1), real.longest, writer.integers(1)], "queries", {"axis": 0})
    return writer.add("Expand", [for_all, shape], "hidden from each")
