"""What `SentenceTransformer.save_pretrained` writes, with `onnx/` beside it: for sentence-transformers and optimum."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from core import manifest
from core.checkpoint import RAW_HEADS
from core.errors import UserError
from core.schema.serving import Format
from eval.cards import card
from export.layouts import fields, outputs
from export.layouts.product import Product
from export.layouts.raxe_folder import write_metadata
from export.merged import merge

ONNX = "onnx"
SUFFIX = {  # as the users of sentence-transformers expect the files to be called; other formats by their own name
    "fp32": "",
    "int8": "_qint8_avx512_vnni",
    "int8_avx2": "_quint8_avx2",
    "int8_dynamic": "_qint8_dynamic",
    "int4": "_q4",
}
USE = """```python
from sentence_transformers import SentenceTransformer
SentenceTransformer("this folder", backend="onnx", model_kwargs={{"file_name": "{file}"}})

from optimum.onnxruntime import ORTModelForFeatureExtraction
ORTModelForFeatureExtraction.from_pretrained("this folder", subfolder="onnx", file_name="{file}")
```

`classifier_*.onnx` take the normalised embedding as `embeddings` and answer with a label and a map of probabilities;
`label_encoders.json` names the classes.{merged}"""
MERGED = " `onnx/scores*.onnx` go from ids to all scores in one graph."


def refuse(checkpoint: manifest.Manifest) -> None:
    """Raises UserError where transformers knows no such encoder, before anything is exported."""
    kind = json.loads((checkpoint.folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    if kind != "mpnet":
        raise UserError(
            f"{checkpoint.folder} is a {kind} model, which transformers cannot open: leave sentence-transformers out of"
            " export.layouts"
        )


def suffix(precision: Format) -> str:
    """Of the files of a format."""
    return SUFFIX.get(precision, f"_{precision}")


def write(folder: Path, name: str, products: Sequence[Product]) -> manifest.Manifest:
    """Fills an empty folder, called `name`, with the graphs of one checkpoint in all formats that were asked for."""
    first = replace(products[0], name=name)
    refuse(first.checkpoint)
    for part in first.checkpoint.fields["files"]:
        if part != RAW_HEADS:
            (folder / part).parent.mkdir(exist_ok=True)
            shutil.copyfile(first.source / part, folder / part)
    write_metadata(first.source, folder)
    (folder / ONNX).mkdir()
    graphs = {f"{ONNX}/model{suffix(one.precision)}.onnx": one for one in products}
    for path, one in graphs.items():
        (folder / path).write_bytes(outputs.tokens_first(one.graph).SerializeToString())
        if one.merged:  # not called model: its first output is no token state that they could pool
            whole = merge(one.graph, one.heads)
            (folder / ONNX / f"scores{suffix(one.precision)}.onnx").write_bytes(whole.SerializeToString())
    described = fields.common(first, "sentence-transformers", "torch", folder, list(graphs))
    described["precision"] = ", ".join(one.precision for one in products)
    described["graphs"] = {path: fields.of_graph(one) for path, one in graphs.items()}
    for key in described["graphs"][next(iter(graphs))].keys() - {"precision"}:
        del described[key]
    use = USE.format(file=Path(next(iter(graphs))).name, merged=MERGED if first.merged else "")
    page = card.write(first, described, use, "sentence-transformers", "sentence-similarity")
    (folder / "README.md").write_text(page, encoding="utf-8")
    return manifest.write(folder, described)
