"""The folder of the package raxe 0.15.0: pooled embedding as output 1, five heads without maps, its own class names."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from core import manifest
from core.checkpoint import tokenizer_name
from core.folders import write_json
from eval.cards import card
from export.layouts import derived_heads, fields, mapping, outputs, raxe_names, tokenizer_files
from export.layouts.product import Product

CLASSES = {
    "is_threat": ["benign", "threat"],
    "threat_family": raxe_names.FAMILIES,
    "severity": raxe_names.SEVERITIES,
    "primary_technique": raxe_names.TECHNIQUES,
    "harm_types": raxe_names.HARMS,
}
USE = """```python
from raxe.domain.ml.gemma_detector import GemmaL2Detector  # raxe 0.15.0
GemmaL2Detector("this folder").analyze(text, l1_results)
```

It pads to 512 tokens and takes output 1 of the graph, `sentence_embedding` (batch, {dim}); padding is cut off inside.
`tokenizer.json` cuts texts at {length} tokens, the length that was judged.

### Severity, technique and harm are not learned

There are no labels for them here. `threat_family` follows from our family head, the other three from the sub-family by
this table; `benign` and `none` are said exactly where the binary head says so.

| our sub-family | their family | severity | technique | harm |
|---|---|---|---|---|
{rows}"""


def graph_name(precision: str) -> str:
    """What the package looks for first, or, without `_int8`, next."""
    return "model_int8.onnx" if precision.startswith("int8") else "model.onnx"


def write(folder: Path, product: Product) -> manifest.Manifest:
    """Fills an empty folder."""
    graph = graph_name(product.precision)
    (folder / graph).write_bytes(outputs.tokens_first(product.graph).SerializeToString())
    names = []
    for name, head in derived_heads.derive(product.heads, product.taxonomy).items():
        names.append(f"classifier_{name}.onnx")
        (folder / names[-1]).write_bytes(head.SerializeToString())
    tokenizer_files.write(product.source, folder, cut_at(product.checkpoint.max_length))
    shutil.copyfile(product.source / "config.json", folder / "config.json")
    described = fields.common(product, "raxe-0.15", "raxe-0.15", folder, [graph, *names])
    write_json(folder / "label_config.json", _labels())
    write_json(folder / "model_metadata.json", _metadata(product, folder))
    checkpoint = product.checkpoint
    use = USE.format(dim=checkpoint.fields["embedding_dim"], length=checkpoint.max_length, rows=_table(product))
    (folder / "README.md").write_text(card.write(product, described, use, "onnxruntime"), encoding="utf-8")
    return manifest.write(folder, described)


def cut_at(max_length: int) -> dict[str, Any]:
    """Entries of tokenizer.json: the package obeys its truncation and has no other; padding it adds itself."""
    cut = {"direction": "Right", "max_length": max_length, "strategy": "LongestFirst", "stride": 0}
    return {"truncation": cut, "padding": None}


def _labels() -> dict[str, object]:
    kinds = {"is_threat": "binary", "harm_types": "multilabel"}
    return {
        name: {"name": name, "type": kinds.get(name, "multiclass"), "classes": classes}
        for name, classes in CLASSES.items()
    }


def _metadata(product: Product, folder: Path) -> dict[str, object]:
    checkpoint = product.checkpoint.fields
    return {
        "model_id": product.name,
        "model_version": checkpoint["version"],
        "model_type": "mpnet_threat_classifier",
        "variant": product.precision,
        "embedding_model": tokenizer_name(folder),
        "embedding_dim": checkpoint["embedding_dim"],
        "max_length": checkpoint["max_length"],
    }


def _table(product: Product) -> str:
    """The rows of the mapping that this model uses, in Markdown."""
    parent = product.taxonomy.parent
    rows = []
    for name in product.taxonomy.subfamilies:
        family = parent.get(name, "")
        row = mapping.derived_from(name, family)
        rows.append(f"| {name} | {mapping.family_of(family)} | {row.severity} | {row.technique} | {row.harm} |")
    return "\n".join(rows)
