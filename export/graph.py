"""Module to ONNX: inputs by name, padding cut and pooling done inside the graph, one self-contained file."""

from __future__ import annotations

import onnx

from core.model import SentenceEncoder
from export import mpnet, traced


def to_onnx(encoder: SentenceEncoder) -> onnx.ModelProto:
    """The FP32 graph: `input_ids`, `attention_mask` (batch, tokens) int64, both sizes dynamic and padded on the right,
    -> `sentence_embedding` (batch, dim), of length 1, and `last_hidden_state` (batch, tokens, hidden), 0 on padding.
    """
    return mpnet.write(encoder) if encoder.spec.architecture == "mpnet" else traced.trace(encoder)
