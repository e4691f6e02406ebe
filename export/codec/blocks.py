"""A quantised matrix in a file: its integers, times whole multiples where blocks have steps of their own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from core.grid import Grid, blocked
from core.integers import Quantised
from export.codec.nibbles import nibbles
from export.writer import Writer

Hold = Callable[[Writer, str, NDArray[np.int8]], str]
"""Gives the INT8 tensor of this name with these values, of any shape, to the graph."""


def pack(
    writer: Writer, name: str, found: Quantised, grid: Grid, transposed: bool = False, hold: Hold = nibbles
) -> str:
    """The INT8 matrix `name` (rows, columns), or (columns, rows) as a product takes it; hold: how integers are kept.

    The integers are kept as they are, times multiples or not: a product sees integer times multiple, within ±127.
    """
    if found.multiples is None:
        integers = found.integers.numpy()
        return hold(writer, name, integers.T if transposed else integers)
    rows, columns = found.integers.shape
    codes = blocked(found.integers, grid).numpy()  # (rows, blocks, size), the last filled up with zeros
    factors = found.multiples.numpy()[:, :, None]  # (rows, blocks, 1)
    if transposed:
        codes, factors = codes.transpose(1, 2, 0), factors.transpose(1, 2, 0)
    parts = [hold(writer, f"{name} codes", codes), nibbles(writer, f"{name} multiples", factors)]
    product = writer.add("Mul", parts, f"{name} in blocks")
    shape = writer.integers(*((-1, rows) if transposed else (rows, -1)))
    if codes.size == rows * columns:
        return writer.add("Reshape", [product, shape], name)
    whole = writer.add("Reshape", [product, shape], f"{name} filled up")
    bounds = [writer.integers(value) for value in (0, columns, 0 if transposed else 1)]
    return writer.add("Slice", [whole, *bounds], name)
