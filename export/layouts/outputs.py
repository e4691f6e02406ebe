"""A graph with its outputs in the order that a consumer takes them by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

POOLED, TOKENS = "sentence_embedding", "last_hidden_state"
PROJECTED = "token_embeddings"


def tokens_first(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose output 0 is `last_hidden_state` and whose output 1 is `sentence_embedding`."""
    return _ordered(graph, (TOKENS, POOLED))


def projected_tokens_first(graph: onnx.ModelProto, checkpoint: Path) -> onnx.ModelProto:
    """The same for who pools output 0 to the embedding: where a projection follows the pooling it is done to each token
    before, which is the same for a mean, and output 0 is called `token_embeddings`.
    """
    from safetensors.numpy import load_file

    from core.pretrained import DENSE

    dense = checkpoint / DENSE / "model.safetensors"
    if not dense.is_file():
        return tokens_first(graph)
    weight = load_file(dense)["linear.weight"].astype(np.float32).T  # (hidden, dim)
    model = _ordered(graph, (TOKENS, POOLED))
    model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(weight), "projection of tokens"))
    model.graph.node.append(helper.make_node("MatMul", [TOKENS, "projection of tokens"], [PROJECTED], PROJECTED))
    shape = ["batch", "tokens", weight.shape[1]]
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(PROJECTED, TensorProto.FLOAT, shape))
    onnx.checker.check_model(model)
    return model


def _ordered(graph: onnx.ModelProto, names: tuple[str, ...]) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    named = {output.name: output for output in graph.graph.output}
    del model.graph.output[:]
    model.graph.output.extend(named[name] for name in names)
    return model
