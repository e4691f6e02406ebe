"""Do graphs and heads take and give what their layout promises? Names, types, order and shapes, by running them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from export.checks.layout import Promise

INPUTS = {"input_ids": "tensor(int64)", "attention_mask": "tensor(int64)"}
BATCH, TOKENS = 2, 7  # of the texts that try the sizes


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """With one thread and the default optimisations."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])


def problems(
    path: Path, session: onnxruntime.InferenceSession, promise: Promise, fields: Mapping[str, Any]
) -> list[str]:
    """What is wrong with an embedding graph, a sentence each; fields: of the manifest."""
    found = _file(path, fields)
    given = {value.name: value.type for value in session.get_inputs()}
    if given != INPUTS:
        return [*found, f"its inputs are {', '.join(given)}, not input_ids and attention_mask as int64"]
    names = [value.name for value in session.get_outputs()]
    fits = len(names) >= len(promise.outputs)
    if not (fits and all(name in may for name, may in zip(names, promise.outputs, strict=False))):
        wanted = ", then ".join(may[0] for may in promise.outputs)
        return [*found, f"its outputs are {', '.join(names)}; the consumer takes them by order: {wanted}"]
    return found + _shapes(session, promise, int(fields["embedding_dim"]))


def _file(path: Path, fields: Mapping[str, Any]) -> list[str]:
    model = onnx.load(path, load_external_data=False)
    found = []
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        found.append("its weights lie in another file, which consumers do not fetch")
    opset = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    for name, has in (("opset", opset), ("ir_version", model.ir_version)):
        if name in fields and fields[name] != has:
            found.append(f"its {name} is {has}, the manifest states {fields[name]}")
    return found


def _shapes(session: onnxruntime.InferenceSession, promise: Promise, dimension: int) -> list[str]:
    """Two texts, one shorter than the other: batch and length must be free."""
    ids = np.full((BATCH, TOKENS), 2, np.int64)
    mask = np.ones((BATCH, TOKENS), np.int64)
    ids[1, 4:], mask[1, 4:] = 1, 0
    try:
        values = session.run(None, {"input_ids": ids, "attention_mask": mask})
    except Exception as error:  # onnxruntime has one class of exceptions for each fault
        return [f"it does not run on {BATCH} texts of {TOKENS} tokens: {str(error).splitlines()[0]}"]
    value = values[promise.embedding]
    projected = promise.pooled or "token_embeddings" in (output.name for output in session.get_outputs())
    width = dimension if projected else value.shape[-1]
    wanted = (BATCH, dimension) if promise.pooled else (BATCH, TOKENS, width)
    if value.dtype != np.float32 or value.shape != wanted:
        return [f"output {promise.embedding} is {value.dtype} {value.shape}, the consumer takes float32 {wanted}"]
    return [] if np.isfinite(value).all() else [f"output {promise.embedding} is not finite"]


def head_problems(
    session: onnxruntime.InferenceSession, dimension: int, classes: Sequence[str] | int, maps: bool
) -> list[str]:
    """What is wrong with a head. classes: its classes, or how many."""
    count = classes if isinstance(classes, int) else len(classes)
    given = [(value.name, value.type) for value in session.get_inputs()]
    if given != [("embeddings", "tensor(float)")]:
        return [f"its input is {given}, the consumer gives `embeddings` as float32"]
    rows = np.eye(3, dimension, dtype=np.float32)
    label, scores = session.run(None, {"embeddings": rows})[:2]
    if label.dtype != np.int64 or len(label) != len(rows):
        return [f"output 0 is {label.dtype} {label.shape}, not a label int64 for each row"]
    if maps != isinstance(scores, list):
        return [
            f"output 1 is {'a list of maps' if isinstance(scores, list) else 'an array'}, the consumer reads the other"
        ]
    has = len(scores[0]) if maps else scores.shape[1]
    return [] if has == count else [f"it gives {has} probabilities for {count} classes"]
