"""Weights as integers and scales: what an export stores, by the arithmetic that training rounded with.

A matrix is (rows, columns) with a row for each output of a linear layer or each token of a table, as torch has it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from core.errors import UserError
from core.grid import Grid, Steps, blocked, nearest, searched_steps, smallest_steps, value


@dataclass(frozen=True)
class Quantised:
    """A matrix in integers, symmetric: every zero point is 0, and what is zero stays zero."""

    integers: Tensor  # (rows, columns) int8, within ±7 with 4 bits
    scales: Tensor  # (rows, blocks), or (rows, 1) with multiples; float32
    multiples: Tensor | None  # (rows, blocks) int8, 1 … 15: an INT8 product takes integer times multiple


def quantise(weight: Tensor, grid: Grid) -> Quantised:
    """What a file holds of `weight` (rows, columns); UserError for a weight that is not finite.

    A matrix that was rounded to this grid before gets the same integers again, and scales equal to their last bit;
    with whole multiples these are searched for this reason, too.
    INT8 without blocks is onnxruntime's own arithmetic (`QuantType.QInt8`, per channel), bit for bit.
    """
    if not torch.isfinite(weight).all():
        raise UserError("a weight is NaN or infinite and has no integer: export a checkpoint that was trained whole")
    blocks = blocked(weight.detach().float(), grid)
    searched = grid.search or grid.whole_multiples
    steps = searched_steps(blocks, grid) if searched else smallest_steps(blocks, grid)
    integers = nearest(blocks, steps, grid).flatten(1)[:, : weight.shape[1]].to(torch.int8)
    multiples = None if steps.multiples is None else steps.multiples.to(torch.int8)
    return Quantised(integers, steps.scales, multiples)


def dequantise(quantised: Quantised, grid: Grid) -> Tensor:
    """The matrix that the integers stand for, (rows, columns) float32."""
    multiples = None if quantised.multiples is None else quantised.multiples.float()
    values = value(blocked(quantised.integers.float(), grid), Steps(quantised.scales, multiples))
    return values.flatten(1)[:, : quantised.integers.shape[1]]
