"""Rounding whose gradient passes as if nothing had been rounded (Bengio et al. 2013, arXiv 1308.3432).

torch's own `fake_quantize` functions multiply by the reciprocal of the scale, which can round to another integer than a
file holds, and are ten times as slow here; and `weight + (rounded - weight).detach()` is off the grid by a rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from core.grid import Grid, Steps, nearest, smallest_steps, value

LEVELS = 255  # of UINT8, above 0


class Rounded(torch.autograd.Function):
    """Weights to the values on their grid, with scales given."""

    @staticmethod
    def forward(ctx: Any, blocks: Tensor, scales: Tensor, grid: Grid) -> Tensor:
        """blocks: (rows, blocks, block size); scales: (rows, blocks), of which some values may be clipped."""
        ctx.save_for_backward(blocks, scales)
        ctx.grid = grid
        return value(nearest(blocks, Steps(scales), grid), Steps(scales))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        """Zero for what was clipped; for the scale as in LSQ (Esser et al. 2020, arXiv 1902.08153, section 2)."""
        blocks, scales = ctx.saved_tensors
        largest = ctx.grid.largest
        exact = blocks / scales[:, :, None]
        inside = exact.abs() <= largest * (1 + 1e-6)  # a scale that was chosen to reach a weight may fall short of it
        of_scale = None
        if ctx.needs_input_grad[1]:
            slope = torch.where(inside, exact.round() - exact, exact.sign() * largest)
            of_scale = (gradient * slope).sum(-1) * (blocks.shape[-1] * largest) ** -0.5
        return gradient * inside, of_scale, None


class Unclipped(torch.autograd.Function):
    """The same with the smallest steps that clip nothing: there is nothing to keep for the way back."""

    @staticmethod
    def forward(ctx: Any, blocks: Tensor, grid: Grid) -> Tensor:
        steps = smallest_steps(blocks, grid)
        return value(nearest(blocks, steps, grid), steps)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class RoundedStates(torch.autograd.Function):
    """Activations to the values of UINT8 over a fixed range; the gradient of what was clipped is zero."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, scale: float, zero_point: int) -> Tensor:
        divisor = torch.tensor(scale, device=states.device)  # by a plain number a GPU multiplies with its reciprocal
        integers = (states.float() / divisor).round_()
        inside = integers.clamp(-zero_point, LEVELS - zero_point)
        ctx.save_for_backward(inside == integers)
        return inside.mul_(scale).to(states.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (inside,) = ctx.saved_tensors
        return gradient * inside, None, None
