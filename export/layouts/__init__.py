"""Serving folders: one trained model and one graph; a thin layout for each consumer."""

from __future__ import annotations

from pathlib import Path

from core import manifest
from core.schema.serving import Format, Layout
from export.layouts import raxe_015, raxe_bundle, raxe_folder
from export.layouts import sentence_transformers as sentences
from export.layouts.product import Product
from export.layouts.raxe_folder import GRAPH

__all__ = ["GRAPH", "Product", "folder_name", "write"]


def folder_name(checkpoint: str, precision: Format, layout: Layout) -> str:
    """Of the serving folder, beside the checkpoint of that name."""
    match layout:
        case "raxe-folder":
            return f"{checkpoint}-{precision.replace('_', '-')}"
        case "sentence-transformers":  # all formats in one folder
            return f"{checkpoint}-{layout}"
        case _:
            return f"{checkpoint}-{precision.replace('_', '-')}-{layout}"


def write(layout: Layout, folder: Path, product: Product, bundle_tokenizer: str) -> manifest.Manifest:
    """Fills an empty folder; a raxe-bundle names `bundle_tokenizer` as the place that its tokenizer is loaded from."""
    match layout:
        case "raxe-folder":
            return raxe_folder.write(folder, product)
        case "raxe-bundle":
            return raxe_bundle.write(folder, product, bundle_tokenizer)
        case "raxe-0.15":
            return raxe_015.write(folder, product)
        case "sentence-transformers":
            return sentences.write(folder, product.name, [product])
