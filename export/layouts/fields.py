"""The manifest of a serving folder: what it is, what measured it, and what raxe-ce's validator asks for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core import manifest, serving
from core.checkpoint import tokenizer_name
from core.schema.serving import Layout
from core.tokenizer import TextTokenizer
from export.layouts.product import Product

INHERITED = (
    "version",
    "status",
    "embedding_dim",
    "max_length",
    "operating_point",
    "heads",
    serving.KEY,
    "synthetic",
    "seed",
    "provenance",
    *manifest.LINEAGE,
)
RUNTIMES = {"int8": "onnx_int8", "fp16": "onnx_fp16"}  # of raxe-ce; all else is "onnx"


def common(
    product: Product, layout: Layout, kind: str, folder: Path, files: Sequence[str], bundle: str = "."
) -> dict[str, Any]:
    """Everything but hashes. files: the graphs; kind: as `core.pipeline` reads it; bundle: what raxe-ce's validator
    calls `model.bundle_file`, the folder itself where there is none.
    """
    fields, name = product.checkpoint.fields, tokenizer_name(folder)
    runtime = next((runtime for part, runtime in RUNTIMES.items() if product.precision.startswith(part)), "onnx")
    return {
        "name": product.name,
        **{key: fields[key] for key in INHERITED if key in fields},
        "kind": kind,
        "layout": layout,
        "model_type": "onnx_only",
        "model": {"bundle_file": bundle, "model_type": "onnx_only", "runtime": runtime, "embedding_model": name},
        "onnx_files": list(files),
        **of_graph(product),
        "tokenizer": tokenizer(folder, product.checkpoint.max_length),
        "parent": {"name": product.checkpoint.name, "digest": product.checkpoint.digest},
        **_figures(product),
    }


def of_graph(product: Product) -> dict[str, Any]:
    """What holds for one graph: precision, versions, parity, company, and what it says of the smoke text."""
    opset = {entry.domain or "ai.onnx": entry.version for entry in product.graph.opset_import}
    versions = {"precision": product.precision, "opset": opset, "ir_version": product.graph.ir_version}
    smoke = {} if product.smoke is None else {"smoke": vars(product.smoke)}
    return versions | dict(product.found) | smoke


def tokenizer(folder: Path, max_length: int) -> dict[str, Any]:
    """What `export.verify` and raxe-ce's TokenizerRegistry check the tokenizer of `folder` against."""
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    kind = settings.get("tokenizer_class", "MPNetTokenizer")
    return {
        "name": tokenizer_name(folder),
        "type": kind,
        "vocabulary_size": TextTokenizer.open(folder, max_length).size,
        "config": {"type": kind, "max_length": max_length},
    }


def _figures(product: Product) -> dict[str, Any]:
    """Performance and accuracy as measured, and where from; sections with nothing to say are left out."""
    measured = product.measured
    target = {} if product.latency_target is None else {"target_latency_ms": product.latency_target}
    if measured is None:
        return {"performance": target} if target else {}
    return measured.sections(target)
