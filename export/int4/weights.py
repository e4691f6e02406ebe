"""Weights in four bits, all or the table alone: rounded as they were trained to be, or each error made good; packed."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from onnx import NodeProto
from torch import Tensor

from core.grid import Grid
from core.integers import Quantised, dequantise, quantise
from core.moments import Moments
from core.schema.serving import FourBits
from export.codec import Hold, nibbles, octets, pack
from export.int4 import trained
from export.int4.compensate import compensated
from export.int4.steps import nearest, weighted_steps
from export.int4.table import look_up_packed
from export.int8.products import Product
from export.int8.weights import InBytes, Matrix
from export.writer import Writer


class InNibbles:
    """Half a byte a weight."""

    def __init__(self, moments: Mapping[str, Moments], settings: FourBits, hold: Hold = nibbles) -> None:
        """moments: of what enters the products, by the name of the states; hold: how the file holds their integers."""
        self.hold = hold
        self.moments = moments
        self.settings = settings
        self.grid = grid_of(settings)

    def matrix(self, writer: Writer, product: Product) -> Matrix:
        weight = torch.from_numpy(writer.array(product.weight).T.copy())  # (outputs, inputs)
        entering = self.moments[product.states]
        found, grid = trained.find(weight, known(self.grid)) or (self._rounded(weight, entering), self.grid)
        integers = pack(writer, f"{product.weight} integers", found, grid, transposed=True, hold=self.hold)
        # What rounding does to the mean output is known, and the bias takes it back.
        offset = (weight - dequantise(found, grid)).double() @ entering.mean
        return Matrix(integers, found.scales.numpy()[:, 0], offset.float().numpy())

    def table(self, writer: Writer, node: NodeProto) -> None:
        write_table(writer, node, self.settings)

    def _rounded(self, weight: Tensor, entering: Moments) -> Quantised:
        match self.settings.rounding:
            case "nearest":
                return quantise(weight, self.grid)
            case "searched":
                importance = entering.covariance.diagonal().float()
                return nearest(weight, weighted_steps(weight, importance, self.grid), self.grid)
            case "compensated":
                return compensated(weight, entering.covariance, self.grid)


class TableInNibbles(InBytes):
    """A byte a weight in the matrices, half a byte in the table of words."""

    def __init__(self, settings: FourBits, reduce_range: bool = False, hold: Hold = octets) -> None:
        """settings: of the table; reduce_range, hold: of the matrices, as in `InBytes`."""
        super().__init__(reduce_range, hold)
        self.settings = settings

    def table(self, writer: Writer, node: NodeProto) -> None:
        write_table(writer, node, self.settings)


def grid_of(settings: FourBits) -> Grid:
    return Grid(4, settings.block_size, whole_multiples=settings.block_size is not None)


def known(grid: Grid) -> tuple[Grid, Grid]:
    """On which a training may have rounded: this one, or one of a step for each row."""
    return grid, Grid(4, search=True)


def write_table(writer: Writer, node: NodeProto, settings: FourBits) -> None:
    """In place of the look-up `node`: the same tensor from a table of words in four bits."""
    weight, grid = torch.from_numpy(writer.array(node.input[0])), grid_of(settings)  # (rows, columns)
    found, grid = trained.find(weight, known(grid)) or (_of_table(weight, grid, settings), grid)
    look_up_packed(writer, node, found, grid)


def _of_table(weight: Tensor, grid: Grid, settings: FourBits) -> Quantised:
    """Nothing is known of the errors of looked-up rows but their size."""
    if settings.rounding == "nearest":
        return quantise(weight, grid)
    steps = weighted_steps(weight, torch.ones(weight.shape[1]), grid, held=torch.float16)
    return nearest(weight, steps, grid)
