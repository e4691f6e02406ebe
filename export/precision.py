"""One FP32 graph in the precisions that were asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx

from core.schema.serving import Format
from export import int8


def graphs(
    fp32: onnx.ModelProto, formats: Sequence[Format], texts: Sequence[Sequence[int]]
) -> Iterator[tuple[Format, onnx.ModelProto]]:
    """Each format with its graph; texts: ids of training texts, on which fixed scales are measured."""
    fixed = {"int8", "int8_avx2"} & set(formats)
    centred = int8.centre(fp32, texts) if fixed else fp32
    observed = int8.observe(centred, texts) if fixed else None
    for chosen in formats:
        match chosen:
            case "fp32":
                yield chosen, fp32
            case "int8":
                yield chosen, int8.quantise(centred, observed)
            case "int8_avx2":
                yield chosen, int8.quantise(centred, observed, reduce_range=True)
            case "int8_dynamic":
                yield chosen, int8.quantise(fp32)


def spread(texts: Sequence[str], count: int) -> Sequence[str]:
    """So many of the texts, from all over them."""
    return texts[:: max(1, len(texts) // count)][:count]
