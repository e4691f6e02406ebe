"""Encoder and heads as one graph, from ids to all scores."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import compose, helper, version_converter

from core.head_graph import without_zip_map

EMBEDDING = "sentence_embedding"  # what the encoder gives …
GIVEN = "embeddings"  # … and the heads take


def merge(encoder: onnx.ModelProto, heads: Mapping[str, onnx.ModelProto]) -> onnx.ModelProto:
    """The encoder's outputs stay first; behind them for each head `<name>_label` (batch,) int64 and
    `<name>_probabilities` (batch, classes) float32.
    """
    model = onnx.ModelProto()
    model.CopyFrom(encoder)
    opsets = {entry.domain: entry.version for entry in encoder.opset_import}
    for name, head in heads.items():
        part = _renamed(_raised(without_zip_map(head), opsets[""]), name)
        model.graph.node.extend(part.graph.node)
        model.graph.initializer.extend(part.graph.initializer)
        model.graph.output.extend(part.graph.output)
        opsets |= {entry.domain: entry.version for entry in part.opset_import if entry.domain}
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in opsets.items())
    onnx.checker.check_model(model)
    return model


def _raised(head: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The head in the encoder's opset, which is the later one."""
    return version_converter.convert_version(head, opset)


def _renamed(head: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Everything begins with the head's name, but for the embedding that comes in."""
    part = compose.add_prefix(head, f"{name}_")
    for node in part.graph.node:
        node.input[:] = [EMBEDDING if read == f"{name}_{GIVEN}" else read for read in node.input]
    return part
