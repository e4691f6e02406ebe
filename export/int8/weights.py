"""How the constant matrices of a graph become integers, and how the file holds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import NodeProto

from core.grid import Grid
from core.integers import quantise
from export.codec import Hold, octets
from export.int8.products import Product
from export.int8.tables import look_up
from export.writer import Writer


@dataclass(frozen=True)
class Matrix:
    """What an INT8 product needs of its weights."""

    integers: str  # int8 tensor of the graph, (inputs, outputs)
    steps: NDArray[np.float32]  # (outputs,)
    offset: NDArray[np.float32] | None = None  # (outputs,), to be added to the bias


class Weights(Protocol):
    """A way to round them and to write them down."""

    def matrix(self, writer: Writer, product: Product) -> Matrix:
        """The weights of one product."""
        ...

    def table(self, writer: Writer, node: NodeProto) -> None:
        """In place of the look-up `node` in a big table: the same output."""
        ...


class InBytes:
    """A byte a weight, on the nearest integer."""

    def __init__(self, reduce_range: bool = False, hold: Hold = octets) -> None:
        """reduce_range: seven bits, where U8S8 products saturate: AVX2, and AVX512 without VNNI.
        hold: how the file holds the integers.
        """
        self.grid = Grid(reduce_range=reduce_range)
        self.hold = hold

    def matrix(self, writer: Writer, product: Product) -> Matrix:
        found = quantise(torch.from_numpy(writer.array(product.weight).T.copy()), self.grid)
        integers = self.hold(writer, f"{product.weight} integers", found.integers.numpy().T)
        return Matrix(integers, found.scales.numpy()[:, 0])

    def table(self, writer: Writer, node: NodeProto) -> None:
        found = quantise(torch.from_numpy(writer.array(node.input[0])), Grid())
        integers = self.hold(writer, f"{node.input[0]} integers", found.integers.numpy())
        look_up(writer, node, integers, found.scales.numpy())
