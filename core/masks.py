"""Which weights stay when others become zero, and how many at which step: pure arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from core.errors import UserError

Scope = Literal["layer", "global"]


def largest_kept(values: Mapping[str, Tensor], ratio: float, scope: Scope) -> dict[str, Tensor]:
    """Boolean masks of the same shapes: False for exactly round(ratio * number) of the smallest values.

    scope: number and rank count within each tensor or over all of them. Of equal values the first go first.
    Raises UserError for a ratio outside [0, 1).
    """
    _refuse(ratio)
    if scope == "layer":
        return {name: _without_smallest(value.flatten(), ratio).view_as(value) for name, value in values.items()}
    kept = _without_smallest(torch.cat([value.flatten() for value in values.values()]), ratio)
    parts = kept.split([value.numel() for value in values.values()])
    # Copies: views of one storage cannot be saved side by side.
    return {name: part.view_as(value).clone() for (name, value), part in zip(values.items(), parts, strict=True)}


def n_of_m_mask(values: Tensor, keep: int, group_size: int) -> Tensor:
    """The `keep` largest of every `group_size` inputs in a row: (outputs, inputs) -> boolean, same shape.

    Of equal values the last stay. Mishra et al. 2021 (arXiv 2104.08378) for 2 of 4. Raises UserError for inputs that
    the groups do not fill, and for a number to keep outside 1 … group_size.
    """
    if not 1 <= keep <= group_size:
        raise UserError(f"{keep} of every {group_size} weights cannot stay: keep between 1 and {group_size}")
    if values.shape[1] % group_size:
        raise UserError(
            f"{values.shape[1]} inputs are not whole groups of {group_size}: choose a group size that divides them"
        )
    groups = values.unflatten(1, (-1, group_size))  # (outputs, groups, group size)
    order = groups.argsort(dim=-1, stable=True)  # the smallest first
    mask = torch.ones_like(groups, dtype=torch.bool)
    return mask.scatter_(-1, order[..., : group_size - keep], False).flatten(1)


def cubic(step: int, begin: int, end: int, initial: float, final: float) -> float:
    """Share of zeros in `step`, from 0: none before `begin`, `final` from `end` on, between them rising ever slower.

    Zhu & Gupta 2017 (arXiv 1710.01878), equation 1.
    """
    if step < begin:
        return 0.0
    if step >= end:
        return final
    return final + (initial - final) * (1 - (step - begin) / (end - begin)) ** 3


def _refuse(ratio: float) -> None:
    if not 0 <= ratio < 1:
        raise UserError(f"a share of zeros of {ratio} leaves nothing or means nothing: give one from 0 to below 1")


def _without_smallest(values: Tensor, ratio: float) -> Tensor:
    """(number,) -> boolean (number,)."""
    zeros = round(ratio * values.numel())
    if not zeros:
        return torch.ones_like(values, dtype=torch.bool)
    edge = values.kthvalue(zeros).values
    mask = values >= edge
    ties = (values == edge).nonzero()[:, 0]
    mask[ties[: zeros - int((~mask).sum())]] = False
    return mask
