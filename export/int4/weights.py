"""Weights in four bits: rounded as they were trained to be, or with every error made good, and packed in the file."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from onnx import NodeProto
from torch import Tensor

from core.grid import Grid
from core.integers import Quantised, dequantise, quantise
from core.schema.serving import FourBits
from export.codec import Hold, nibbles, pack
from export.int4 import trained
from export.int4.compensate import compensated
from export.int4.moments import Moments
from export.int4.steps import nearest, weighted_steps
from export.int4.table import look_up_packed
from export.int8.products import Product
from export.int8.weights import Matrix
from export.writer import Writer


class InNibbles:
    """Half a byte a weight."""

    def __init__(self, moments: Mapping[str, Moments], settings: FourBits, hold: Hold = nibbles) -> None:
        """moments: of what enters the products, by the name of the states; hold: how the file holds their integers."""
        self.hold = hold
        self.moments = moments
        self.settings = settings
        self.grid = Grid(4, settings.block_size, whole_multiples=settings.block_size is not None)
        self.known = (self.grid, Grid(4, search=True))  # on which a training may have rounded

    def matrix(self, writer: Writer, product: Product) -> Matrix:
        weight = torch.from_numpy(writer.array(product.weight).T.copy())  # (outputs, inputs)
        entering = self.moments[product.states]
        found, grid = trained.find(weight, self.known) or (self._rounded(weight, entering), self.grid)
        integers = pack(writer, f"{product.weight} integers", found, grid, transposed=True, hold=self.hold)
        # What rounding does to the mean output is known, and the bias takes it back.
        offset = (weight - dequantise(found, grid)).double() @ entering.mean
        return Matrix(integers, found.scales.numpy()[:, 0], offset.float().numpy())

    def table(self, writer: Writer, node: NodeProto) -> None:
        weight = torch.from_numpy(writer.array(node.input[0]))  # (rows, columns)
        found, grid = trained.find(weight, self.known) or (self._of_table(weight), self.grid)
        look_up_packed(writer, node, found, grid)

    def _rounded(self, weight: Tensor, entering: Moments) -> Quantised:
        match self.settings.rounding:
            case "nearest":
                return quantise(weight, self.grid)
            case "searched":
                importance = entering.covariance.diagonal().float()
                return nearest(weight, weighted_steps(weight, importance, self.grid), self.grid)
            case "compensated":
                return compensated(weight, entering.covariance, self.grid)

    def _of_table(self, weight: Tensor) -> Quantised:
        """Nothing is known of the errors of looked-up rows but their size."""
        if self.settings.rounding == "nearest":
            return quantise(weight, self.grid)
        steps = weighted_steps(weight, torch.ones(weight.shape[1]), self.grid, held=torch.float16)
        return nearest(weight, steps, self.grid)
