"""What each layout promises its consumer: which graph, its outputs in order, which heads in which form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.schema.serving import Layout

WIDTH = 512  # tokens to which raxe 0.15.0 pads


@dataclass(frozen=True)
class Promise:
    """One layout."""

    graphs: str
    """Pattern of the embedding graph's file."""
    outputs: tuple[tuple[str, ...], ...]
    """Possible names of each output, in order."""
    embedding: int
    """Which output the consumer takes."""
    pooled: bool
    """Whether that output is the embedding; else token states, which the consumer pools."""
    heads: Mapping[str, str]
    """Head to the key of `label_encoders.json`, or of `label_config.json`, that names its classes."""
    maps: bool
    """Whether the heads give maps of probabilities; else arrays."""
    width: int | None
    """To which the consumer pads: None its text alone, 0 the manifest's `max_length`."""
    cuts: bool = True
    """Whether the consumer cuts texts at the model's length; else tokenizer.json has to."""


TOKENS, POOLED = ("last_hidden_state",), ("sentence_embedding",)
OURS = {"binary": "", "family": "family", "subfamily": "subfamily"}
THEIRS = {name: name for name in ("is_threat", "threat_family", "severity", "primary_technique", "harm_types")}
PROMISES: dict[Layout, Promise] = {
    "raxe-folder": Promise("embeddings*.onnx", (POOLED, TOKENS), 0, True, OURS, True, 0),
    "raxe-bundle": Promise("*_embeddings.onnx", ((*TOKENS, "token_embeddings"), POOLED), 0, False, {}, True, None),
    "raxe-0.15": Promise("model*.onnx", (TOKENS, POOLED), 1, True, THEIRS, False, WIDTH, cuts=False),
    "sentence-transformers": Promise("onnx/model*.onnx", (TOKENS, POOLED), 0, False, OURS, True, None),
}
