"""A folder read as its layout's consumer reads it, down to output order and padding; nothing here is the pipeline's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from export.checks.graphs import open_session
from export.checks.layout import WIDTH, Promise

PAD = 1


def embed(
    folder: Path, session: onnxruntime.InferenceSession, promise: Promise, text: str, length: int
) -> NDArray[Any]:
    """The embedding of one text, (1, dim), of length 1."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    if promise.cuts:
        tokenizer.enable_truncation(length)
    tokenizer.no_padding()
    ids = tokenizer.encode(text).ids[:WIDTH]
    width = len(ids) if promise.width is None else promise.width or length
    padded = np.array([ids + [PAD] * (width - len(ids))], np.int64)
    mask = (np.arange(width)[None] < len(ids)).astype(np.int64)
    value = session.run(None, {"input_ids": padded, "attention_mask": mask})[promise.embedding]
    if not promise.pooled:
        value = (value * mask[:, :, None]).sum(1) / mask.sum()
        value = _projected(folder, value)
    normed: NDArray[Any] = value / np.linalg.norm(value, axis=1, keepdims=True)
    return normed.astype(np.float32)


def _projected(folder: Path, pooled: NDArray[Any]) -> NDArray[Any]:
    """Through the Dense module of a folder of sentence-transformers, where it has one and the graph has not."""
    path = folder / "2_Dense" / "model.safetensors"
    if not path.is_file():
        return pooled
    from safetensors.numpy import load_file

    result: NDArray[Any] = pooled @ load_file(path)["linear.weight"].T
    return result


def probabilities(path: Path, embedding: NDArray[Any]) -> list[float]:
    """Of one row, in the order of the classes."""
    scores = open_session(path).run(None, {"embeddings": embedding})[1][0]
    return [float(value) for value in (scores.values() if isinstance(scores, dict) else scores)]


def class_names(folder: Path, promise: Promise, head: str) -> list[str] | int:
    """From the file that the consumer's labels come from; the binary head has two."""
    key = promise.heads[head]
    if not key:
        return 2
    if promise.maps:
        table = json.loads((folder / "label_encoders.json").read_text(encoding="utf-8"))[key]
        return [table[str(index)] for index in range(len(table))]
    names: list[str] = json.loads((folder / "label_config.json").read_text(encoding="utf-8"))[key]["classes"]
    return names
