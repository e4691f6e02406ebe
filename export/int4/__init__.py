"""INT4 graphs: files of four bits a weight, or a word, that run as INT8."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import version_converter

from core.schema.serving import FourBits
from export import int8
from export.codec import Hold, nibbles, octets
from export.int4.moments import measure
from export.int4.rest import in_bytes
from export.int4.weights import InNibbles, TableInNibbles
from export.int8.observe import Observed

OPSET = 21  # the first with INT4

__all__ = ["quantise", "quantise_table"]


def quantise(
    model: onnx.ModelProto,
    observed: Observed,
    texts: Sequence[Sequence[int]],
    settings: FourBits,
    hold: Hold = nibbles,
) -> onnx.ModelProto:
    """The INT8 graph of `export.int8.quantise`, its weights and its table of words held in four bits.

    texts: their ids, on which it is measured where errors matter; hold: how the file holds the matrices' integers.
    """
    return in_bytes(int8.quantise(_recent(model), observed, weights=InNibbles(measure(model, texts), settings, hold)))


def quantise_table(
    model: onnx.ModelProto,
    observed: Observed | None,
    settings: FourBits,
    reduce_range: bool = False,
    hold: Hold = octets,
) -> onnx.ModelProto:
    """The INT8 graph of `export.int8.quantise`, its table of words in four bits and its positions in a byte.

    settings: how the table comes to four bits; reduce_range, hold: of the matrices' integers, as in `export.int8`.
    """
    return in_bytes(int8.quantise(_recent(model), observed, weights=TableInNibbles(settings, reduce_range, hold)))


def _recent(model: onnx.ModelProto) -> onnx.ModelProto:
    opset = next(entry.version for entry in model.opset_import if not entry.domain)
    return model if opset >= OPSET else version_converter.convert_version(model, OPSET)
