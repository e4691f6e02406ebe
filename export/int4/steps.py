"""Steps of four-bit grids by the error that they make where it counts."""

from __future__ import annotations

import torch
from torch import Tensor

from core import grid as grids
from core.grid import Grid, Steps, blocked, usable
from core.integers import Quantised

SHARES = (1.0, 0.92, 0.84, 0.76, 0.68)  # tried, of the smallest scale that clips nothing


def weighted_steps(weight: Tensor, importance: Tensor, grid: Grid, held: torch.dtype = torch.float32) -> Steps:
    """The steps of least squared error of (rows, columns), a column's error counted by its importance, (columns,).

    held: the type whose values the scales may have, since that of a file may be narrower than float32.
    Other than `core.grid.searched_steps` it may shrink the scale of a row whose blocks have multiples: what it finds
    could not be found again in the rounded matrix, which a file does not need.
    """
    blocks = blocked(weight, grid)  # (rows, blocks, size)
    counts = blocked(importance[None].float(), grid)  # (1, blocks, size)
    largest = blocks.abs().amax(-1) / grid.largest  # (rows, blocks)
    best, least = None, None
    for share in SHARES:
        steps, errors = _of_share(largest * share, blocks, counts, grid, held)
        if best is None or least is None:
            best, least = steps, errors
            continue
        better = errors < least  # (rows, 1) with multiples, else (rows, blocks)
        multiples = None
        if steps.multiples is not None and best.multiples is not None:
            multiples = torch.where(better, steps.multiples, best.multiples)
        best = Steps(torch.where(better, steps.scales, best.scales), multiples)
        least = torch.minimum(errors, least)
    assert best is not None
    return best


def nearest(weight: Tensor, steps: Steps, grid: Grid) -> Quantised:
    """The nearest integers of (rows, columns) with these steps."""
    integers = grids.nearest(blocked(weight, grid), steps, grid).flatten(1)[:, : weight.shape[1]]
    multiples = None if steps.multiples is None else steps.multiples.to(torch.int8)
    return Quantised(integers.to(torch.int8), steps.scales, multiples)


def _of_share(wanted: Tensor, blocks: Tensor, counts: Tensor, grid: Grid, held: torch.dtype) -> tuple[Steps, Tensor]:
    """Steps as wanted, (rows, blocks), or the best multiples of a scale that allows the largest of them; and errors."""
    if not grid.whole_multiples:
        steps = Steps(usable(wanted.to(held).float()))
        return steps, _errors(steps, blocks, counts, grid)
    scales = usable((wanted.amax(1, keepdim=True) / grid.most).to(held).float())
    best, least = torch.ones_like(wanted), torch.full_like(wanted, torch.inf)
    for multiple in range(1, grid.most + 1):
        errors = _errors(Steps(scales, torch.full_like(wanted, float(multiple))), blocks, counts, grid)
        best = torch.where(errors < least, float(multiple), best)
        least = torch.minimum(errors, least)
    return Steps(scales, best), least.sum(1, keepdim=True)


def _errors(steps: Steps, blocks: Tensor, counts: Tensor, grid: Grid) -> Tensor:
    """(rows, blocks)"""
    return (grids.value(grids.nearest(blocks, steps, grid), steps).sub_(blocks).square_() * counts).sum(-1)
