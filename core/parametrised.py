"""Parametrisations of weight matrices: which matrices there are, what lies on them, and how it is taken off again."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

Kind = TypeVar("Kind", bound=nn.Module)


def linears(model: nn.Module) -> dict[str, nn.Linear]:
    """Every linear layer of the model by its name, parametrised or not."""
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}


def on(module: nn.Module) -> list[nn.Module]:
    """The parametrisations of a module's weight, in the order in which they act."""
    return list(module.parametrizations.weight) if parametrize.is_parametrized(module, "weight") else []  # type: ignore[union-attr, arg-type]


def raw(module: nn.Module) -> Tensor:
    """The weight that the optimiser moves, before any parametrisation acts."""
    weight = module.parametrizations.weight.original if on(module) else module.weight  # type: ignore[union-attr]
    assert isinstance(weight, Tensor)
    return weight


def find(model: nn.Module, kind: type[Kind]) -> dict[str, Kind]:
    """All parametrisations of this kind, by the name of their linear layer."""
    return {name: part for name, module in linears(model).items() for part in on(module) if isinstance(part, kind)}


@torch.no_grad()
def bake(module: nn.Module, kind: type[nn.Module]) -> None:
    """Takes the parametrisations of `kind` off; what they did to the weight is done for good, and others stay on.

    The weight remains the same Parameter, so that an optimiser need not be told.
    """
    parts = on(module)
    last = max((place for place, part in enumerate(parts) if isinstance(part, kind)), default=-1)
    if last < 0:
        return
    # torch gives a deep copy the class of its original, and would take the weight from both of them.
    shared = type(module)
    module.__class__ = type(shared.__name__, shared.__bases__, dict(vars(shared)))
    weight = raw(module)
    for part in parts[: last + 1]:
        weight = part(weight)
    parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)
    module.weight.copy_(weight + 0.0)  # type: ignore[operator]  # -0.0 becomes 0.0, which alone is a zero on disk
    for part in parts:
        if not isinstance(part, kind):
            parametrize.register_parametrization(module, "weight", part)
