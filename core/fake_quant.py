"""Training on the weights that the export will hold: rounded to their integers forwards, straight through backwards."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from core import activation_ranges, parametrised
from core.activation_ranges import ActivationRange
from core.grid import Grid, blocked, searched_steps, smallest_steps
from core.schema.compression import FakeQuantisation
from core.straight_through import Rounded, Unclipped

LOOKUP = "rounded"  # name under a table of embeddings


class FakeQuantised(nn.Module):
    """A parametrisation: rows of a matrix to the values that their integers on the grid stand for.

    step: smallest follows the largest weight of each block; searched keeps its ratio to that weight as it was best for
    the first weights; learned is a parameter. For the scale of the first two the gradient takes a constant.
    """

    ratio: Tensor | None
    scales: nn.Parameter | None

    def __init__(self, weight: Tensor, grid: Grid, step: Literal["smallest", "searched", "learned"]) -> None:
        """weight: (rows, columns) float32."""
        super().__init__()
        self.grid = grid
        self.register_buffer("ratio", None)
        self.register_parameter("scales", None)
        if step == "smallest":
            return
        blocks = blocked(weight.detach(), grid)
        searched = searched_steps(blocks, grid).scales
        if step == "searched":
            self.ratio = searched / smallest_steps(blocks, grid).scales  # (rows, blocks)
        else:
            self.scales = nn.Parameter(searched)  # (rows, blocks)

    def forward(self, weight: Tensor, rows: Tensor | None = None) -> Tensor:
        """weight: (rows, columns), which are the numbers `rows` of the whole matrix, all of them without."""
        blocks = blocked(weight, self.grid)
        if self.scales is None and self.ratio is None:
            rounded = Unclipped.apply(blocks, self.grid)
        else:
            scales, ratio = (part if rows is None or part is None else part[rows] for part in (self.scales, self.ratio))
            if ratio is not None:
                scales = smallest_steps(blocks.detach(), self.grid).scales * ratio
            assert scales is not None
            rounded = Rounded.apply(blocks, scales.abs(), self.grid)  # an optimiser may step over zero
        return rounded.flatten(1)[:, : weight.shape[1]]


def apply(model: nn.Module, settings: FakeQuantisation) -> None:
    """Rounds the weights of every linear layer and of `word_embeddings`, and watches what enters the layers, if asked.

    Masks must be on already: a scale is chosen from the weights that are left.
    """
    if is_applied(model):
        raise ValueError("the model's weights are fake-quantised already: remove that first")
    layers = parametrised.linears(model)
    for layer in layers.values():
        weight = layer.weight.detach()
        if weight.dtype != torch.float32:
            raise ValueError(f"fake quantisation needs float32 weights, not {weight.dtype}: use model.float()")
        part = _rounding(weight, settings, settings.bits, product=True)
        parametrize.register_parametrization(layer, "weight", part)
    if settings.embedding_bits:
        for table in _tables(model):
            part = _rounding(table.weight, settings, settings.embedding_bits, product=False)
            table.add_module(LOOKUP, part)
            part.hook = table.register_forward_hook(_round_rows)  # type: ignore[assignment]
    if settings.activations:
        apart = getattr(model, "projection", None)  # multiplied in FP32, after the pooling
        chosen = {name: layer for name, layer in layers.items() if layer is not apart}
        activation_ranges.watch(chosen, settings.range_momentum)


def is_applied(model: nn.Module) -> bool:
    """Whether anything of the model is fake-quantised."""
    return any(isinstance(module, FakeQuantised | ActivationRange) for module in model.modules())


@torch.no_grad()
def remove(model: nn.Module) -> None:
    """Takes it all off; the weights keep values on the grid, whose integers `core.integers.quantise` finds again."""
    for layer in parametrised.linears(model).values():
        parametrised.bake(layer, FakeQuantised)
    for table in _tables(model):
        part = getattr(table, LOOKUP, None)
        if part is not None:
            table.weight.copy_(part(table.weight))
            part.hook.remove()
            delattr(table, LOOKUP)
    activation_ranges.forget(model)


def _rounding(weight: Tensor, settings: FakeQuantisation, bits: Literal[4, 8], product: bool) -> FakeQuantised:
    """product: whether the weight meets activations in an INT8 product, and is not looked up."""
    multiples, reduced = settings.whole_multiples and bits == 4, settings.reduce_range and product
    grid = Grid(bits, settings.block_size, multiples, reduced)
    return FakeQuantised(weight, grid, "smallest" if bits == 8 else settings.step)


def _tables(model: nn.Module) -> list[nn.Embedding]:
    """Only the large one: positions and relative bias are too small to matter."""
    named = [part for name, part in model.named_modules() if name.split(".")[-1] == "word_embeddings"]
    return [part for part in named if isinstance(part, nn.Embedding)]


def _round_rows(table: nn.Module, given: tuple[Tensor, ...], found: Tensor) -> Tensor:
    """Rounds the rows that were looked up: the same values as of the whole table, at a fraction of its cost."""
    rounded: Tensor = getattr(table, LOOKUP)(found.flatten(0, -2), given[0].flatten())
    return rounded.view_as(found)
