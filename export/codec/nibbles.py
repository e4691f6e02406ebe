"""Integers of four bits, two in a byte."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from export.writer import Writer


def nibbles(writer: Writer, name: str, integers: NDArray[np.integer]) -> str:
    """The INT8 tensor `name` of these integers, -8 … 7 or 0 … 15, held in four bits each; any shape.

    onnxruntime has the kernel of this `Cast` since 1.23, and it takes no longer than to read as many bytes.
    """
    low, high = int(integers.min(initial=0)), int(integers.max(initial=0))
    if low < -8 or high > (7 if low < 0 else 15):
        raise ValueError(f"{name}: integers of {low} … {high} do not fit in four bits")
    kind = ml_dtypes.int4 if high <= 7 else ml_dtypes.uint4
    held = writer.constant(f"{name} in 4 bits", integers.astype(kind))
    return writer.add("Cast", [held], name, {"to": TensorProto.INT8})
