"""Masks on weight matrices that live through training, saving and resuming, and in the end become zeros."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from core import parametrised
from core.masks import largest_kept, n_of_m_mask
from core.schema.compression import Sparsity

SOFT_THRESHOLD = 0.1  # of the sigmoid of a score, as in the published code of soft movement


class Masked(nn.Module):
    """A parametrisation: the weight where the mask says so, zero elsewhere; no gradient arrives there."""

    mask: Tensor  # boolean, shape of the weight

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones_like(weight, dtype=torch.bool))

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask.view(torch.uint8)  # of booleans the product is five times as slow

    def importance(self, weight: Tensor) -> Tensor:
        """What the weights are ranked by; what is zero stays zero."""
        return (weight * self.mask).abs()


class Scored(Masked):
    """A mask by learned scores: movement pruning (Sanh, Wolf & Rush 2020, arXiv 2005.07683).

    The gradient of a score is that of its masked weight times the weight, straight through the mask: the score falls
    while training moves the weight towards zero. A weight may come back.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__(weight)
        self.scores = nn.Parameter(torch.zeros_like(weight))

    def forward(self, weight: Tensor) -> Tensor:
        masked: Tensor = _Movement.apply(weight, self.scores, self.mask)
        return masked

    def importance(self, weight: Tensor) -> Tensor:
        return self.scores.detach()


class _Movement(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, scores: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(weight, mask)
        return weight * mask.view(torch.uint8)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        weight, mask = ctx.saved_tensors
        of_scores = gradient * weight if ctx.needs_input_grad[1] else None
        return gradient * mask.view(torch.uint8), of_scores, None


def apply(model: nn.Module, settings: Sparsity) -> None:
    """Puts a mask on every linear layer of `model`; nothing is zero yet, or with `keep` what is zero already.

    Masks come before fake quantisation, which chooses its scales from the weights that are left.
    """
    for name, layer in parametrised.linears(model).items():
        if parametrised.on(layer):
            raise ValueError(f"{name} is parametrised already: masks come first and once")
        part = Scored(layer.weight) if settings.method in ("movement", "soft_movement") else Masked(layer.weight)
        if settings.method == "keep":
            part.mask.copy_(layer.weight != 0)
        parametrize.register_parametrization(layer, "weight", part)


@torch.no_grad()
def update(model: nn.Module, settings: Sparsity, ratio: float) -> None:
    """Sets the masks to a share of zeros, within every group of inputs if the settings have groups.

    Soft movement instead drops what its scores have fallen below the threshold, until `ratio` is the final sparsity.
    """
    masks = parametrised.find(model, Masked)
    layers = parametrised.linears(model)
    values = {name: part.importance(parametrised.raw(layers[name])) for name, part in masks.items()}
    if settings.method == "soft_movement" and ratio < (settings.final_sparsity or 0):
        found = {name: value.sigmoid() > SOFT_THRESHOLD for name, value in values.items()}
    elif settings.group_size:
        size = settings.group_size
        found = {name: n_of_m_mask(value, size - round(ratio * size), size) for name, value in values.items()}
    else:
        found = largest_kept(values, ratio, settings.scope)
    for name, part in masks.items():
        part.mask.copy_(found[name])


def add_penalty(model: nn.Module, weight: float) -> None:
    """Adds to the scores' gradients that of `weight` times the mean sigmoid of all scores, which pulls them down."""
    scores = [part.scores for part in parametrised.find(model, Scored).values()]
    number = sum(score.numel() for score in scores)
    for score in scores:
        if score.grad is not None:
            share = score.detach().sigmoid()
            score.grad.add_(share * (1 - share), alpha=weight / number)


def learn_scores(model: nn.Module, learning: bool) -> None:
    """Whether the scores still move; once the masks are final they only cost time and gradient norm."""
    for part in parametrised.find(model, Scored).values():
        part.scores.requires_grad_(learning)


def zeros(model: nn.Module) -> float:
    """Share of the masked matrices that is zero."""
    masks = [part.mask for part in parametrised.find(model, Masked).values()]
    return 1 - sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)


def remove(model: nn.Module) -> None:
    """Takes the masks off; what they hid is zero for good."""
    for layer in parametrised.linears(model).values():
        parametrised.bake(layer, Masked)
