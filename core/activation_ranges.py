"""Ranges of what enters the linear layers: watched while texts pass, then fixed to the scale of a static export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.errors import UserError
from core.straight_through import LEVELS, RoundedStates

ATTACHED = "range"  # name under a linear layer


@dataclass(frozen=True)
class Scale:
    """Real value = scale * (integer - zero point), integers 0 … 255."""

    scale: float
    zero_point: int


def unsigned(low: float, high: float) -> Scale:
    """UINT8 over low … high, widened to hold 0; in onnxruntime's arithmetic (`compute_scale_zp`), in float64."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / LEVELS
    if scale < torch.finfo(torch.float32).tiny:
        return Scale(1.0, 0)
    return Scale(torch.tensor(scale, dtype=torch.float32).item(), round(-low / scale))


class ActivationRange(nn.Module):
    """The running range of a tensor in training; once frozen, the tensor is rounded to UINT8 over it.

    The ends of the batches are averaged with `momentum` (Jacob et al. 2018, arXiv 1712.05877), and evenly over the
    first 1 / (1 - momentum) of them. Padding counts as any other token.
    """

    low: Tensor
    high: Tensor
    seen: Tensor
    frozen: Tensor

    def __init__(self, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))  # batches
        self.register_buffer("frozen", torch.zeros((), dtype=torch.bool))

    def forward(self, states: Tensor) -> Tensor:
        """Any shape; the same."""
        if self.frozen:
            fixed = self.scale()
            rounded: Tensor = RoundedStates.apply(states, fixed.scale, fixed.zero_point)
            return rounded
        if self.training:
            self.observe(states.detach())
        return states

    @torch.no_grad()
    def observe(self, states: Tensor) -> None:
        """Lets the ends of a batch move the range."""
        low, high = torch.aminmax(states.float())
        self.seen += 1
        share = max(1 - self.momentum, 1 / int(self.seen))
        self.low += (low - self.low) * share
        self.high += (high - self.high) * share

    def scale(self) -> Scale:
        return unsigned(self.low.item(), self.high.item())


def watch(layers: Mapping[str, nn.Linear], momentum: float) -> None:
    """Puts a range before each layer; it watches in training mode."""
    for layer in layers.values():
        part = ActivationRange(momentum).train(layer.training)
        layer.add_module(ATTACHED, part)
        part.hook = layer.register_forward_pre_hook(_before)  # type: ignore[assignment]


def watched(model: nn.Module) -> dict[str, ActivationRange]:
    """The ranges by the name of their layer."""
    found = {name: getattr(module, ATTACHED, None) for name, module in model.named_modules()}
    return {name: part for name, part in found.items() if isinstance(part, ActivationRange)}


def freeze(model: nn.Module) -> None:
    """From now on all that enters is rounded; UserError for a layer that nothing has entered yet."""
    for name, part in watched(model).items():
        if not part.seen:
            raise UserError(f"nothing has entered {name} yet, so its range is unknown: pass texts before freezing it")
        part.frozen.fill_(True)


def scales(model: nn.Module) -> dict[str, Scale]:
    """What a static export writes before each layer, by the layer's name."""
    return {name: part.scale() for name, part in watched(model).items()}


def forget(model: nn.Module) -> None:
    """Takes all ranges off; take `scales` first."""
    for name, part in watched(model).items():
        part.hook.remove()  # type: ignore[operator, union-attr]
        delattr(model.get_submodule(name), ATTACHED)


def _before(layer: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (getattr(layer, ATTACHED)(given[0]), *given[1:])
