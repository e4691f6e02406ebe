"""Token vectors as an embedding graph: what a static model is, in ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, checker, helper, numpy_helper, save

from core.errors import UserError

NEAR = 0.9999


def graph(vectors: NDArray[np.float32], path: Path) -> onnx.ModelProto:
    """Writes the graph from ids to the normalised sum of their vectors, (tokens, dim); of a mean it is the same."""
    constants = {"vectors": vectors, "last": np.array([-1]), "tokens": np.array([1]), "least": np.float32(1e-12)}
    nodes = [
        helper.make_node("Gather", ["vectors", "input_ids"], ["last_hidden_state"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["real"]),
        helper.make_node("Mul", ["last_hidden_state", "real"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "tokens"], ["sum"], keepdims=0),
        helper.make_node("ReduceL2", ["sum", "last"], ["length"], keepdims=1),
        helper.make_node("Max", ["length", "least"], ["divisor"]),
        helper.make_node("Div", ["sum", "divisor"], ["sentence_embedding"]),
    ]
    names, dim = ("input_ids", "attention_mask"), vectors.shape[1]
    made = helper.make_graph(
        nodes,
        "model2vec",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ("batch", "tokens")) for name in names],
        [
            helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ("batch", "tokens", dim)),
            helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ("batch", dim)),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    checker.check_model(model)
    save(model, path)
    return model


def refuse_unlike(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> None:
    """Both (texts, dim), of length 1, or 0 where no token is known."""
    known = (theirs != 0).any(axis=1)
    worst = float((ours[known] * theirs[known]).sum(axis=1).min())
    if worst < NEAR:
        raise UserError(f"the graph's embedding of a text has a cosine of {worst:.4f} to model2vec's: it must be 1")
