"""Pooled rows in eight bits: each on a scale of its own, whatever stands beside it."""

from __future__ import annotations

import numpy as np

from export.writer import CONTRIB, Writer

LARGEST = 127
ZERO = 128
LEAST = float(np.finfo(np.float32).tiny)  # what a row of zeros is divided by


def round_rows(writer: Writer, states: str) -> tuple[tuple[str, str, str], str]:
    """(texts, channels) float32 -> integers, their scale and zero point; and what each row is larger by, (texts, 1).

    A fixed scale would clip the mean of a very short text, which is larger than that of a long one. For single rows
    the arithmetic costs nothing; for every token it would cost more than the rounding.
    """
    sizes = writer.add("Abs", [states], f"{states} sizes")
    largest = writer.add("ReduceMax", [sizes, writer.integers(1)], f"{states} largest", {"keepdims": 1})
    least = writer.constant(f"{states} least", np.array(LEAST, np.float32))
    factor = writer.add("Max", [largest, least], f"{states} factor")
    even = writer.add("Div", [states, factor], f"{states} even")  # within -1 … 1
    scale = writer.constant(f"{states} scale", np.array(1 / LARGEST, np.float32))
    zero_point = writer.constant(f"{states} zero point", np.array(ZERO, np.uint8))
    integers = writer.add("QuantizeLinear", [even, scale, zero_point], f"{states} integers", {"domain": CONTRIB})
    return (integers, scale, zero_point), factor
