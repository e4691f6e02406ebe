"""The excerpt of a long text, chosen inside the graph: any consumer that hands over whole texts gets it."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from core.excerpt import Reading
from export.ends import Cut
from export.writer import Writer

INT32 = {"to": TensorProto.INT32}


def shorten(writer: Writer, real: Cut, reading: Reading) -> Cut:
    """What the layers read, by whole-number arithmetic and so the same as `core.excerpt.Reading` takes.

    `longest` is then at most the excerpt's tokens. A text that is no longer is read whole, in any company.
    """
    most, first, stretch = reading.excerpt.tokens, reading.excerpt.first, reading.excerpt.stretch
    one, before, behind = writer.integers(1), writer.integers(first - 1), writer.integers(first + stretch - 1)
    table = writer.constant("token weights", reading.token_weights.cpu().numpy())
    looked_up = writer.add("Cast", [writer.add("Gather", [table, real.ids], "weights of tokens")], "weights", INT32)
    there = writer.add("Squeeze", [real.mask, one], "there")  # (batch, longest)
    counted = writer.add("Mul", [looked_up, writer.add("Cast", [there], "counts", INT32)], "weights that count")
    # Room behind for stretches that begin at any token; they weigh no more than the last whole one, which comes first.
    room = writer.constant("room", np.array([0, 0, 0, most], np.int64))
    wide = writer.add("Pad", [counted, room], "weights with room")
    sums = writer.add("CumSum", [wide, one], "weights so far")  # (batch, longest + most)
    ends = [
        writer.add("Add", [start, real.longest], f"{name} behind")
        for name, start in (("low", before), ("high", behind))
    ]
    low = writer.add("Slice", [sums, before, ends[0], one], "before the stretch")  # (batch, longest)
    high = writer.add("Slice", [sums, behind, ends[1], one], "with the stretch")
    heaviest = writer.add(
        "ArgMax", [writer.add("Sub", [high, low], "stretches")], "heaviest", {"axis": 1}
    )  # (batch, 1)
    lengths = writer.add("Unsqueeze", ["lengths", one], "lengths of texts")  # (batch, 1)
    long = writer.add("Greater", [lengths, writer.integers(most)], "long")
    start = writer.add("Mul", [heaviest, writer.add("Cast", [long], "moves", {"to": TensorProto.INT64})], "start")
    width = writer.add("Min", [real.longest, writer.integers(most)], "width")
    zero = writer.integers(0)
    place = writer.add(
        "Slice", [writer.constant("all places", np.arange(most)), zero, width, zero], "place"
    )  # (width,)
    moves = writer.constant("all moves", (np.arange(most) >= first).astype(np.int64))
    moved = writer.add("Mul", [start, writer.add("Slice", [moves, zero, width, zero], "moved places")], "moved")
    taken = writer.add("Add", [moved, place], "taken")  # (batch, width)
    closing = writer.add(
        "And", [long, writer.add("Equal", [place, writer.integers(most - 1)], "last place")], "closing"
    )
    chosen = writer.add("Where", [closing, writer.add("Sub", [lengths, one], "last token"), taken], "chosen")
    ids = writer.add("GatherElements", [real.ids, chosen], "excerpt", {"axis": 1})
    read = writer.add("Cast", [writer.add("Less", [place, lengths], "is read")], "read", {"to": TensorProto.FLOAT})
    return Cut(width, ids, writer.add("Unsqueeze", [read, one], "read row"))
