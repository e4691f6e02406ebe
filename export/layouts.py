"""The raxe folder: one graph, three heads, tokenizer, labels and manifest, as the serving contract reads it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import onnx

from core import manifest, triggers
from core.checkpoint import TAXONOMY
from core.heads import HEADS, head_path
from core.pretrained import copy_tokenizer, read_spec
from export.merged import merge

GRAPH = {
    "fp32": "embeddings.onnx",
    "int8": "embeddings_quantized_int8.onnx",
    "int8_avx2": "embeddings_quantized_int8_avx2.onnx",
    "int8_dynamic": "embeddings_quantized_int8_dynamic.onnx",
}
MERGED = "scores.onnx"  # no consumer takes it for the embedding graph
SHARED = ("label_encoders.json", TAXONOMY, "model_metadata.json", triggers.FILE, "config.json")
INHERITED = ("version", "status", "embedding_dim", "max_length", "operating_point", "synthetic", "seed", "provenance")


def write_raxe_folder(
    folder: Path,
    checkpoint: manifest.Manifest,
    graph: onnx.ModelProto,
    precision: str,
    name: str,
    merged: bool = False,
) -> manifest.Manifest:
    """Fills an empty folder from a verified checkpoint and its graph; `merged`: one more graph, from ids to scores."""
    (folder / GRAPH[precision]).write_bytes(graph.SerializeToString())
    copy_tokenizer(checkpoint.folder, folder)
    heads = {head: head_path(Path(), head).name for head in HEADS}
    for part in (*SHARED, *heads.values()):
        shutil.copyfile(checkpoint.folder / part, folder / part)
    if merged:
        whole = merge(graph, {head: onnx.load(folder / part) for head, part in heads.items()})
        (folder / MERGED).write_bytes(whole.SerializeToString())
    (folder / "README.md").write_text(_card(name, precision, checkpoint), encoding="utf-8")
    inherited = {key: checkpoint.fields[key] for key in INHERITED if key in checkpoint.fields}
    fields: dict[str, Any] = {
        "name": name,
        **inherited,
        "kind": "onnx",
        "precision": precision,
        "model_type": "onnx_only",
        "onnx_files": [GRAPH[precision], *heads.values()],
        "opset": {entry.domain or "ai.onnx": entry.version for entry in graph.opset_import},
        "ir_version": graph.ir_version,
        "tokenizer": {
            "name": "sentence-transformers/all-mpnet-base-v2",
            "type": "MPNetTokenizer",
            "config": {"max_length": checkpoint.max_length},
        },
        "parent": {"name": checkpoint.name, "digest": checkpoint.digest},
    }
    return manifest.write(folder, fields)


def _card(name: str, precision: str, checkpoint: manifest.Manifest) -> str:
    fields, architecture = checkpoint.fields, read_spec(checkpoint.folder).architecture.replace("_", " ")
    stamp = "\n> synthetic: shows that the machinery works, claims nothing\n" if fields.get("synthetic") else ""
    return f"""# {name}
{stamp}
A prompt-attack classifier: a sentence encoder ({architecture}, {precision} ONNX, pooling and padding cut inside) with
binary, family and sub-family heads. Input: `input_ids`, `attention_mask` (batch, tokens), padded on the right, at most
{fields["max_length"]} tokens. Output 0: `sentence_embedding` (batch, {fields["embedding_dim"]}), L2-normalised.

The attack probability of `classifier_binary.onnx` is at least 0.5 exactly where validation put the threshold
({fields["operating_point"]["threshold"]:.4f} before the shift). `manifest.yaml` holds seed, versions, data fingerprints
and the SHA-256 of every file.
"""
