"""Rounding column by column, where the columns that are still to come make each error good.

GPTQ (Frantar et al. 2022, arXiv 2210.17323), on grids that an INT8 product takes, and on the covariance of what enters
where GPTQ has its second moments: what an error does to the mean output goes into the bias, where it costs nothing.
What is zero stays zero, as in SparseGPT (Frantar and Alistarh 2023, arXiv 2301.00774), and hands on what it was owed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from core.grid import Grid
from core.integers import Quantised
from export.int4.steps import weighted_steps

DAMPING = 0.01  # of the mean variance, as in GPTQ
TOGETHER = 64  # columns after which the rest of the matrix hears of their errors


def compensated(weight: Tensor, covariance: Tensor, grid: Grid) -> Quantised:
    """weight: (rows, columns) float32; covariance of what enters: (columns, columns) float64."""
    damping = max(DAMPING * float(covariance.diagonal().mean()), torch.finfo(torch.float32).tiny)
    damped = covariance + damping * torch.eye(len(covariance), dtype=covariance.dtype)
    importance = damped.diagonal().float()
    steps = weighted_steps(weight, importance, grid)
    size = grid.block_size or weight.shape[1]
    sizes = steps.size.repeat_interleave(size, 1)[:, : weight.shape[1]]  # (rows, columns)
    order = importance.argsort(descending=True)  # what matters most is rounded while all others can make it good
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped[order][:, order]))
    spread = torch.linalg.cholesky(inverse, upper=True).float()
    integers = torch.empty_like(weight)
    integers[:, order] = _column_by_column(weight[:, order], sizes[:, order], spread, grid.largest)
    multiples = None if steps.multiples is None else steps.multiples.to(torch.int8)
    return Quantised(integers.to(torch.int8), steps.scales, multiples)


def _column_by_column(weight: Tensor, sizes: Tensor, spread: Tensor, largest: int) -> Tensor:
    """The integers; sizes: the steps of all weights; spread: upper Cholesky factor of the inverse covariance."""
    rest, integers = weight.clone(), torch.empty_like(weight)
    for begin in range(0, weight.shape[1], TOGETHER):
        end = min(begin + TOGETHER, weight.shape[1])
        errors = torch.empty(len(weight), end - begin)
        for column in range(begin, end):
            step = sizes[:, column]
            rounded = (rest[:, column] / step).round().clamp(-largest, largest)
            integers[:, column] = rounded * (weight[:, column] != 0)
            error = (rest[:, column] - integers[:, column] * step) / spread[column, column]
            rest[:, column:end] -= torch.outer(error, spread[column, column:end])
            errors[:, column - begin] = error
        rest[:, end:] -= errors @ spread[begin:end, end:]
    return integers
