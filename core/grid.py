"""The grid that quantised weights lie on: which integers there are, what they stand for, and how it is laid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

SAME = 1e-9  # of a block's sum of squares: squared errors that differ by less are equal, the rest is rounding


@dataclass(frozen=True)
class Grid:
    """Which integers stand for weights, and how many weights share a scale."""

    bits: Literal[4, 8] = 8
    block_size: int | None = None
    """Neighbours in a row that share a scale; None: the whole row."""
    whole_multiples: bool = False
    """Scales of blocks are whole multiples of one scale for the row, so that INT8 holds integer times multiple."""
    reduce_range: bool = False
    """Seven bits where a product would have eight: U8S8 saturates on AVX2 and AVX512 without VNNI."""
    search: bool = False
    """Take the steps of least squared error; else the smallest ones that clip nothing, of which 8 bits lose little."""

    @property
    def product(self) -> int:
        """The largest integer that a product of matrices meets, as onnxruntime's symmetric INT8 has it."""
        return 64 if self.reduce_range else 127

    @property
    def largest(self) -> int:
        """The largest integer; the smallest is its opposite.

        Not -8 … 7 with 4 bits, for which onnxruntime's symmetric scale sends the largest weight to 7.5 and clips it: a
        rounded matrix would be rounded to another one when it is read again.
        """
        return 7 if self.bits == 4 else self.product

    @property
    def most(self) -> int:
        """The largest multiple: UINT4 holds it, and the product of it and the largest integer is still one of INT8."""
        return min(15, self.product // self.largest)


@dataclass(frozen=True)
class Steps:
    """Distance between neighbours on the grid: scales times multiples."""

    scales: Tensor  # (rows, blocks), or (rows, 1) with multiples; float32
    multiples: Tensor | None = None  # (rows, blocks): whole numbers from 1, float32

    @property
    def size(self) -> Tensor:
        """(rows, blocks)"""
        return self.scales if self.multiples is None else self.scales * self.multiples


def blocked(weight: Tensor, grid: Grid) -> Tensor:
    """(rows, columns) -> (rows, blocks, block size); the last block is filled up with zeros."""
    size = grid.block_size or weight.shape[1]
    if rest := -weight.shape[1] % size:
        weight = functional.pad(weight, (0, rest))
    return weight.unflatten(1, (-1, size))


def smallest_steps(blocks: Tensor, grid: Grid) -> Steps:
    """The smallest steps that clip nothing: the largest weight is the largest integer."""
    steps = usable(blocks.abs().amax(-1) / grid.largest)  # (rows, blocks)
    if not grid.whole_multiples:
        return Steps(steps)
    scales = usable(steps.amax(1, keepdim=True) / grid.most)
    # A step that is a whole multiple but for rounding is that multiple, and not the next one.
    return Steps(scales, (steps / scales * (1 - 1e-6)).ceil().clamp(1, grid.most))


def searched_steps(blocks: Tensor, grid: Grid) -> Steps:
    """The steps of least squared error, block by block; of equal ones the first."""
    found = smallest_steps(blocks, grid)
    energy = blocks.square().sum(-1) * SAME
    best, least = found, torch.full_like(energy, torch.inf)
    for steps in _candidates(found, grid):
        error = (value(nearest(blocks, steps, grid), steps) - blocks).square().sum(-1)  # (rows, blocks)
        better = error < least - energy
        least = torch.where(better, error, least)
        best = _chosen(better, steps, best)
    return best


def nearest(blocks: Tensor, steps: Steps, grid: Grid) -> Tensor:
    """The integers, as float32: divided, half to even, clipped, in the order of ONNX' QuantizeLinear."""
    return (blocks / steps.size[:, :, None]).round_().clamp_(-grid.largest, grid.largest)


def value(integers: Tensor, steps: Steps) -> Tensor:
    """What the integers stand for; with multiples, integer times multiple is whole and rounds nothing."""
    whole = integers if steps.multiples is None else integers * steps.multiples[:, :, None]
    return whole * steps.scales[:, :, None]


def usable(steps: Tensor) -> Tensor:
    """1 where a step would vanish: all weights are zero, or nearly."""
    return torch.where(steps < torch.finfo(torch.float32).tiny, 1.0, steps)


def _candidates(smallest: Steps, grid: Grid) -> Iterator[Steps]:
    """Every multiple; or steps that send the largest weight to a whole number or, clipped, to at most twice the last.

    The whole numbers below the last are there for matrices that were rounded already with steps of their own. And
    where the scale comes from a block's largest weight, this block keeps its multiple, or the scale could not be found
    in the rounded matrix.
    """
    if smallest.multiples is not None:
        for multiple in range(1, grid.most + 1):
            yield Steps(smallest.scales, torch.where(smallest.multiples == grid.most, grid.most, float(multiple)))
        return
    clipped = [grid.largest * (1 + share / 14) for share in range(1, 15)]
    for target in (grid.largest, *range(1, grid.largest), *clipped):
        yield Steps(smallest.scales * grid.largest / target)


def _chosen(better: Tensor, steps: Steps, best: Steps) -> Steps:
    if steps.multiples is None or best.multiples is None:
        return Steps(torch.where(better, steps.scales, best.scales))
    return Steps(best.scales, torch.where(better, steps.multiples, best.multiples))
