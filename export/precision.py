"""One FP32 graph in the precisions that were asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import onnx

from core.schema.serving import Format, FourBits
from export import half, int4, int8
from export.codec import nibbles, nonzero, octets
from export.int4 import nbits
from export.int8.trained import Stored
from export.int8.weights import InBytes


def graphs(
    fp32: onnx.ModelProto,
    formats: Sequence[Format],
    texts: Sequence[Sequence[int]],
    four_bits: FourBits | None = None,
    trained: Mapping[str, Stored] | None = None,
    embedding_bits: Literal[4, 8] = 8,
) -> Iterator[tuple[Format, onnx.ModelProto]]:
    """Each format with its graph.

    texts: ids of training texts, on which fixed scales are measured; trained: `activation_scales` of the checkpoint's
    manifest, where a training fixed them; embedding_bits: of a weight in the int8 formats' table of words.
    """
    fixed = {"int8", "int8_avx2", "int8_packed", "int4", "int4_packed"} & set(formats)
    centred = int8.centre(fp32, texts) if fixed and not trained else fp32
    observed = int8.observe(centred, texts) if fixed else None
    if observed and trained:
        observed = int8.as_trained(fp32, observed, trained)
    for chosen in formats:
        match chosen:
            case "fp32":
                yield chosen, fp32
            case "fp16":
                yield chosen, half.to_half(fp32)
            case "int8" | "int8_avx2" | "int8_packed":
                narrow, hold = chosen == "int8_avx2", nonzero(octets, 8) if chosen == "int8_packed" else octets
                if embedding_bits == 4:
                    yield chosen, int4.quantise_table(centred, observed, four_bits or FourBits(), narrow, hold)
                else:
                    yield chosen, int8.quantise(centred, observed, weights=InBytes(narrow, hold))
            case "int8_dynamic":
                yield chosen, int8.quantise(fp32)
            case "int4":
                assert observed is not None
                yield chosen, int4.quantise(centred, observed, texts, four_bits or FourBits())
            case "int4_packed":
                assert observed is not None
                hold = nonzero(nibbles, 4)
                yield chosen, int4.quantise(centred, observed, texts, four_bits or FourBits(), hold)
            case "int4_nbits_rtn":
                yield chosen, nbits.quantise(fp32, "rtn", texts)
            case "int4_nbits_hqq":
                yield chosen, nbits.quantise(fp32, "hqq", texts)
            case "int4_nbits_gptq":
                yield chosen, nbits.quantise(fp32, "gptq", texts)


def spread(texts: Sequence[str], count: int) -> Sequence[str]:
    """So many of the texts, from all over them."""
    return texts[:: max(1, len(texts) // count)][:count]
