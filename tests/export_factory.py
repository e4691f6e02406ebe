"""Small encoders with random weights, and batches for them, as the tests of the exporter need them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from core.architectures import Architecture
from core.model import EncoderSpec, SentenceEncoder, build
from core.tokenizer import pad

LAYERS, HIDDEN, HEADS, INNER = 2, 64, 4, 128
Batch = dict[str, NDArray[np.int64]]


def random_encoder(
    seed: int, projection: int | None = None, architecture: Architecture = "mpnet", scale: float = 0.1
) -> SentenceEncoder:
    """Wide enough that its word embeddings count as a big table; every weight matters, the relative bias too."""
    layers = 0 if architecture == "static" else LAYERS
    encoder = build(EncoderSpec(layers, HIDDEN, HEADS, INNER, projection=projection, architecture=architecture))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.1 * noise if "LayerNorm.weight" in name else scale * noise)
    return encoder.eval()


def random_texts(lengths: Sequence[int], seed: int = 0) -> list[list[int]]:
    """Ids of texts of these lengths."""
    generator = np.random.default_rng(seed)
    return [generator.integers(200, 30000, length).tolist() for length in lengths]


def batch_of(texts: Sequence[Sequence[int]], width: int | None = None) -> Batch:
    ids, mask = pad(texts, width)
    return {"input_ids": ids, "attention_mask": mask}


def opened(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """As consumers open it: default optimisations."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def embeddings(model: onnx.ModelProto, batch: Batch) -> NDArray[np.float32]:
    found: NDArray[np.float32] = opened(model).run(["sentence_embedding"], batch)[0]
    return found


def by_torch(encoder: SentenceEncoder, batch: Batch) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """sentence_embedding, last_hidden_state"""
    with torch.no_grad():
        output = encoder(*(torch.from_numpy(batch[name]) for name in ("input_ids", "attention_mask")))
    return output.sentence_embedding.numpy(), output.last_hidden_state.numpy()


def constants(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def optimised(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    """What onnxruntime makes of it under default options."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return onnx.load(folder / "optimised.onnx")
