"""The raxe folder: one graph, three heads, tokenizer, labels and manifest, as raxe-ce's FolderL2Detector reads it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from core import clusters, first_layer, manifest, triggers
from core.checkpoint import TAXONOMY, tokenizer_name
from core.folders import write_json
from core.heads import HEADS, head_path
from eval.cards import card
from export.layouts import fields, tokenizer_files
from export.layouts.product import Product
from export.merged import merge

GRAPH = {
    "fp32": "embeddings.onnx",
    "fp16": "embeddings_fp16.onnx",
    "int8": "embeddings_quantized_int8.onnx",
    "int8_avx2": "embeddings_quantized_int8_avx2.onnx",
    "int8_packed": "embeddings_quantized_int8_packed.onnx",
    "int8_dynamic": "embeddings_quantized_int8_dynamic.onnx",
    "int4": "embeddings_quantized_int4.onnx",
    "int4_packed": "embeddings_quantized_int4_packed.onnx",
}
MERGED = "scores.onnx"  # no consumer takes it for the embedding graph
METADATA = "model_metadata.json"
SHARED = ("label_encoders.json", TAXONOMY, triggers.FILE, "config.json")
IF_THERE = (*clusters.FILES, first_layer.FILE)


def graph_name(precision: str) -> str:
    """Of the file of a format; `embeddings*.onnx` is what the consumer looks for."""
    return GRAPH.get(precision, f"embeddings_{precision}.onnx")


def write(folder: Path, product: Product) -> manifest.Manifest:
    """Fills an empty folder."""
    graph = graph_name(product.precision)
    (folder / graph).write_bytes(product.graph.SerializeToString())
    tokenizer_files.write(product.source, folder)
    heads = [head_path(Path(), head).name for head in HEADS]
    for part in (*SHARED, *heads):
        shutil.copyfile(product.source / part, folder / part)
    for part in IF_THERE:
        if (product.source / part).is_file():
            shutil.copyfile(product.source / part, folder / part)
    write_metadata(product.source, folder)
    if product.merged:
        (folder / MERGED).write_bytes(merge(product.graph, product.heads).SerializeToString())
    described = fields.common(product, "raxe-folder", "onnx", folder, [graph, *heads])
    page = card.of_raxe_folder(product, described)
    (folder / "README.md").write_text(page, encoding="utf-8")
    return manifest.write(folder, described)


def write_metadata(source: Path, folder: Path) -> None:
    """The checkpoint's, with the name of the tokenizer that lies in `folder`."""
    metadata = json.loads((source / METADATA).read_text(encoding="utf-8"))
    write_json(folder / METADATA, metadata | {"embedding_model": tokenizer_name(folder)})
