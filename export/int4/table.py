"""A table of words that stays packed in memory: the rows of a text are taken out of their nibbles when it is read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from core.grid import Grid, blocked
from core.integers import Quantised
from export.codec import nibbles, pack
from export.int8.tables import look_up
from export.writer import Writer

ZERO = 8  # what stands for 0 in a nibble without a sign


def look_up_packed(writer: Writer, node: NodeProto, found: Quantised, grid: Grid) -> None:
    """In place of the look-up `node`: the same tensor, from the integers of its table.

    1 % slower at 64 tokens than to look up bytes, and five times as fast as onnxruntime's `GatherBlockQuantized`; to
    unpack the table at load instead takes as long as all matrices together, and twice the memory.
    """
    name, ids, output = node.input[0], node.input[1], node.output[0]
    columns = found.integers.shape[1]
    codes = blocked(found.integers, grid).flatten(1).numpy() + np.int8(ZERO)
    if codes.shape[1] != columns or columns % 2:
        look_up(writer, node, pack(writer, f"{name} integers", found, grid), found.scales.numpy())
        return
    low, high = codes[:, : columns // 2].view(np.uint8), codes[:, columns // 2 :].view(np.uint8)
    held = writer.constant(f"{name} in 4 bits", low | (high << 4))
    pairs = writer.add("Gather", [held, ids], f"{output} packed")  # (batch, tokens, columns / 2)
    parts = [
        writer.add("BitwiseAnd", [pairs, _byte(writer, 15)], f"{output} low"),
        writer.add("BitShift", [pairs, _byte(writer, 4)], f"{output} high", {"direction": "RIGHT"}),
    ]
    joined = writer.add("Concat", parts, f"{output} joined", {"axis": -1})
    values = writer.add("Cast", [joined], f"{output} from zero", {"to": TensorProto.FLOAT})
    centred = writer.add("Sub", [values, writer.number(ZERO)], f"{output} unscaled")
    scales = _scales(writer, name, found.scales.numpy())
    if found.multiples is None:
        writer.add("Mul", [centred, writer.add("Gather", [scales, ids], f"{output} scale")], output)
        return
    blocks = found.multiples.shape[1]
    in_blocks = writer.add("Reshape", [centred, writer.integers(0, 0, blocks, -1)], f"{output} in blocks")
    steps = writer.add("Gather", [_steps(writer, name, scales, found), ids], f"{output} steps")  # (…, blocks, 1)
    product = writer.add("Mul", [in_blocks, steps], f"{output} scaled")
    writer.add("Reshape", [product, writer.integers(0, 0, columns)], output)


def _scales(writer: Writer, name: str, scales: NDArray[np.float32]) -> str:
    """(rows, 1) float32, held in half of that where it loses nothing."""
    with np.errstate(over="ignore"):
        half = scales.astype(np.float16)
    if not np.array_equal(half.astype(np.float32), scales):
        return writer.constant(f"{name} scales", scales)
    held = writer.constant(f"{name} scales in half precision", half)
    return writer.add("Cast", [held], f"{name} scales", {"to": TensorProto.FLOAT})


def _steps(writer: Writer, name: str, scales: str, found: Quantised) -> str:
    """(rows, blocks, 1) float32 of each row's scale and multiples, computed when the session loads."""
    assert found.multiples is not None
    integers = nibbles(writer, f"{name} multiples", found.multiples.numpy()[:, :, None])
    multiples = writer.add("Cast", [integers], f"{name} factors", {"to": TensorProto.FLOAT})
    rows = writer.add("Unsqueeze", [scales, writer.integers(2)], f"{name} scales of rows")
    return writer.add("Mul", [multiples, rows], f"{name} steps")


def _byte(writer: Writer, value: int) -> str:
    """A UINT8 without dimensions; the same one for the same value."""
    name = f"byte {value}"
    return name if name in writer.constants else writer.constant(name, np.array(value, np.uint8))
