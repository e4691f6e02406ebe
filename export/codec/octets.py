"""Integers of eight bits, one in a byte."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from export.writer import Writer


def octets(writer: Writer, name: str, integers: NDArray[np.int8]) -> str:
    """The INT8 tensor `name` of these integers, as it is."""
    return writer.constant(name, integers)
