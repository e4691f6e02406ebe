"""Where a written graph begins and ends: padding cut off and put back, tokens pooled to an embedding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, ValueInfoProto, helper

from export.writer import Writer

SHORTEST = 1e-12  # embedding that is divided by its length, as in torch's `normalize`


@dataclass(frozen=True)
class Cut:
    """The batch on its longest real text; tensors by name."""

    longest: str  # (1,) int64: its tokens, at least 1
    ids: str  # (batch, longest) int64
    mask: str  # (batch, 1, longest) float32: 1 a token, 0 padding


def inputs() -> list[ValueInfoProto]:
    return [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]


def outputs(embedding: int, hidden: int) -> list[ValueInfoProto]:
    """In the order of the raxe folder: pooled first."""
    return [
        helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["batch", embedding]),
        helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "tokens", hidden]),
    ]


def cut(writer: Writer) -> Cut:
    """Two of the three consumers pad every text to 512 tokens: cut here, they pay for the text and not for the padding.

    Texts must be padded on the right.
    """
    zero, one = writer.integers(0), writer.integers(1)
    lengths = writer.add("ReduceSum", ["attention_mask", one], "lengths", {"keepdims": 0})
    most = writer.add("ReduceMax", [lengths, zero], "most")
    longest = writer.add("Max", [most, one], "longest")
    ids = writer.add("Slice", ["input_ids", zero, longest, one], "ids")
    mask = writer.add("Slice", ["attention_mask", zero, longest, one], "mask")
    real = writer.add("Cast", [mask], "real", {"to": TensorProto.FLOAT})
    return Cut(longest, ids, writer.add("Unsqueeze", [real, one], "real row"))


def pool(writer: Writer, last: str, real: Cut) -> str:
    """Sum over the real tokens: (batch, longest, hidden) -> (batch, hidden).

    The mean would have the same direction, and what follows is linear and brought to length 1.
    """
    summed = writer.add("MatMul", [real.mask, last], "pooled")  # (batch, 1, hidden)
    return writer.add("Squeeze", [summed, writer.integers(1)], "sum")


def normalise(writer: Writer, embedding: str) -> None:
    """To length 1, as the output `sentence_embedding`."""
    size = writer.add("ReduceL2", [embedding, writer.integers(1)], "size", {"keepdims": 1})
    length = writer.add("Max", [size, writer.constant("shortest", np.array(SHORTEST, np.float32))], "length")
    writer.add("Div", [embedding, length], "sentence_embedding")


def fill(writer: Writer, last: str, real: Cut) -> None:
    """Zeros where the padding was, as the output `last_hidden_state`."""
    tokens = writer.add("Shape", ["input_ids"], "tokens", {"start": 1})
    rest = writer.add("Sub", [tokens, real.longest], "rest")
    around = writer.add("Concat", [writer.integers(0), rest], "around", {"axis": 0})
    writer.add("Pad", [last, around, "", writer.integers(1)], "last_hidden_state")
