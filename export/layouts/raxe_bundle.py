"""The .raxe bundle with its ONNX embedder, as raxe-ce's BundleBasedDetector reads them (commit 8dd7d88)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from core import manifest
from core.checkpoint import Classifier, load_classifier
from core.errors import UserError
from core.folders import write_json
from core.heads import LinearHead
from eval.cards import card
from export.layouts import bundle_files, fields, joblib_heads, outputs, tokenizer_files
from export.layouts.product import Product

USE = """```python
from raxe.domain.ml.bundle_detector import BundleBasedDetector  # raxe-ce, commit 8dd7d88
BundleBasedDetector(bundle_path="{bundle}", onnx_model_path="{graph}").analyze(text, l1_results)
```

The folder is also one that its `ModelRegistry` finds the bundle in. It takes output 0 of the graph as token embeddings,
(batch, tokens, {dim}), and pools them itself; the tokenizer is loaded from `{tokenizer}`.

The two joblib files are pickles, which run code when they are loaded: they hold scikit-learn's LogisticRegression and
LabelEncoder and numpy arrays alone, and `manifest.json` has their hashes. Nothing of ours loads them."""


def write(folder: Path, product: Product, tokenizer: str) -> manifest.Manifest:
    """Fills an empty folder; tokenizer: hub name or folder that the consumer loads the tokenizer from.

    Raises UserError for heads that are no logistic regressions.
    """
    checkpoint, stem = product.checkpoint, f"raxe_model_l2_{product.name}"
    bundle, graph = f"{stem}.raxe", f"{stem}_embeddings.onnx"
    classifier = _classifier(checkpoint)
    served = outputs.projected_tokens_first(product.graph, product.source)
    (folder / graph).write_bytes(served.SerializeToString())
    tokenizer_files.write(product.source, folder)
    shutil.copyfile(product.source / "config.json", folder / "config.json")
    described = fields.common(product, "raxe-bundle", "raxe-bundle", folder, [graph], bundle)
    described["model"] |= {"onnx_embeddings": graph, "tokenizer": tokenizer, "model_type": "bundle"}
    described["model_type"] = "bundle"
    content = bundle_files.content(product, described, classifier, tokenizer)
    (folder / bundle).write_bytes(bundle_files.pack(content))
    (folder / "metadata").mkdir()
    write_json(folder / "metadata" / f"{product.name}.json", _registry_entry(product, described, bundle, graph))
    names = {"bundle": bundle, "graph": graph, "tokenizer": tokenizer}
    use = USE.format(**names, dim=checkpoint.fields["embedding_dim"])
    (folder / "README.md").write_text(card.write(product, described, use, "scikit-learn"), encoding="utf-8")
    return manifest.write(folder, described)


def refuse(checkpoint: manifest.Manifest) -> None:
    """Raises UserError for heads that are no logistic regressions, before anything is exported."""
    joblib_heads.refuse(_classifier(checkpoint))


def _classifier(checkpoint: manifest.Manifest) -> Classifier[LinearHead]:
    try:
        return load_classifier(checkpoint.folder, checkpoint.fields)
    except UserError as error:
        raise UserError(f"{error}; or leave raxe-bundle out of export.layouts") from error


def _registry_entry(product: Product, described: dict[str, Any], bundle: str, graph: str) -> dict[str, Any]:
    """What the registry of that commit reads beside the bundle; it must have a latency to aim at."""
    performance = {"target_latency_ms": 50.0} | described.get("performance", {})  # 50: what it says where nothing is
    entry = {
        "model_id": product.name,
        "name": product.name,
        "version": described["version"],
        "variant": product.precision,
        "description": f"{product.checkpoint.name} as {product.precision}",
        "file_info": {"filename": bundle, "onnx_embeddings": graph},
        "performance": performance,
        "requirements": {"runtime": described["model"]["runtime"], "requires_gpu": False},
        "status": described["status"],
    }
    accuracy = described.get("accuracy")
    names = ("binary_f1", "family_f1", "subfamily_f1")
    return entry | ({"accuracy": accuracy} if accuracy and all(name in accuracy for name in names) else {})
