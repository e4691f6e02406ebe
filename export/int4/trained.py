"""Weights that a training rounded already: found again on their grid, whose integers lose nothing."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from core.grid import Grid
from core.integers import Quantised, dequantise, quantise

FIRST = 32  # rows that are looked at before the whole matrix is
SAME = 1e-5  # of a row's largest weight; what was not rounded to a grid of four bits is off it by a hundred times this


def find(weight: Tensor, grids: Iterable[Grid]) -> tuple[Quantised, Grid] | None:
    """The integers of (rows, columns) on the first of the grids that it lies on, None where it lies on none."""
    for grid in grids:
        if _lies_on(weight[:FIRST], grid) and _lies_on(weight, grid):
            return quantise(weight, grid), grid
    return None


def _lies_on(weight: Tensor, grid: Grid) -> bool:
    away = (dequantise(quantise(weight, grid), grid) - weight).abs()  # (rows, columns)
    return bool((away <= weight.abs().amax(1, keepdim=True) * SAME).all())
