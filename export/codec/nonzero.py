"""Integers that are mostly zero: only those that are not are held, each with how far it stands behind the last one.

Against the plainer mask of a bit a weight: onnxruntime 1.31 does not fold `NonZero`, whose output has no shape until it
runs, and made to, it computes something wide for every weight. The matrices of 8 x 768 with 90 % zeros, INT8, gaps of
eight bits: 10.0 MB and a peak of 230 MB to load them, in place of 11.3 and 345; dense has 50.3 and 156.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from export.codec.blocks import Hold
from export.writer import Writer

OVERHEAD = 1000  # bytes of the names and nodes that unpack a tensor, rounded up
WIDTHS = {4: ml_dtypes.uint4, 8: np.uint8}  # bits of a gap


@dataclass(frozen=True)
class Gaps:
    """Where values stand in a flat tensor of zeros; a gap that is too wide for its bits is bridged by values of 0."""

    bits: int
    """Of each gap."""
    gaps: NDArray[np.uint8]
    """(values,): from one place to the next, the first from place 0."""
    values: NDArray[np.int8]
    """(values,)"""


def nonzero(values: Hold, bits: int) -> Hold:
    """A way to hold tensors by their values and gaps, and by `values` alone where that is smaller.

    values: how integers are held, in so many bits each.
    """

    def hold(writer: Writer, name: str, integers: NDArray[np.int8]) -> str:
        found = min((gaps(integers, width) for width in WIDTHS), key=lambda one: packed_bytes(one, bits))
        if packed_bytes(found, bits) + OVERHEAD >= math.ceil(integers.size * bits / 8):
            return values(writer, name, integers)
        return _scattered(writer, name, integers.shape, found, values)

    return hold


def gaps(integers: NDArray[np.int8], bits: int) -> Gaps:
    """Of a tensor of any shape, the last dimension running fastest."""
    flat, most = integers.reshape(-1), (1 << bits) - 1
    places = np.flatnonzero(flat)
    steps = np.diff(places, prepend=0)
    bridges = np.maximum(steps - 1, 0) // most  # values of 0 before each
    ends = np.cumsum(bridges + 1) - 1  # where each comes to stand among the values
    count = int(ends[-1]) + 1 if len(ends) else 1  # a tensor of zeros holds one of them
    found = Gaps(bits, np.full(count, most if len(ends) else 0, np.uint8), np.zeros(count, np.int8))
    found.gaps[ends] = steps - bridges * most
    found.values[ends] = flat[places]
    return found


def packed_bytes(found: Gaps, bits: int) -> int:
    """Of the gaps and of values of so many bits."""
    return math.ceil(len(found.gaps) * found.bits / 8) + math.ceil(len(found.values) * bits / 8)


def _scattered(writer: Writer, name: str, shape: tuple[int, ...], found: Gaps, values: Hold) -> str:
    """The INT8 tensor `name`.

    What a session computes while it folds counts against its peak of memory until all is folded, also where an `If`
    holds it back: here 8 bytes a value and 2 a weight. Places counted within each row would spare the `Reshape`, but
    rows of equally many values take twice the file: zeros of a global ranking lie too unevenly.
    """
    held = writer.constant(f"{name} gaps", found.gaps.astype(WIDTHS[found.bits])[None])  # (1, values)
    steps = writer.add("Cast", [held], f"{name} steps", {"to": TensorProto.INT32})
    axis = "last axis" if "last axis" in writer.constants else writer.constant("last axis", np.array(1, np.int64))
    places = writer.add("CumSum", [steps, axis], f"{name} places")
    apart = values(writer, f"{name} values", found.values[None])  # (1, values)
    empty = _zeros(writer, math.prod(shape))
    flat = writer.add("ScatterElements", [empty, places, apart], f"{name} flat", {"axis": 1})
    return writer.add("Reshape", [flat, writer.integers(*shape)], name)


def _zeros(writer: Writer, size: int) -> str:
    """(1, size) INT8; the same ones for all tensors of that size."""
    name = f"zeros {size}"
    if any(node.name == name for node in writer.nodes):
        return name
    zero = helper.make_tensor("zero", TensorProto.INT8, [1], [0])
    return writer.add("ConstantOfShape", [writer.integers(1, size)], name, {"value": zero})
