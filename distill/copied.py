"""A copy of a checkpoint or serving folder in which heads or guard changed: what its manifest keeps and says anew."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import manifest, smoke
from core.checkpoint import TAXONOMY
from core.errors import UserError
from core.pipeline import open_pipeline
from core.rows import Taxonomy
from eval import ledger
from eval.cards import card

KEPT = (
    # what it is …
    "version", "status", "kind", "embedding_dim", "max_length", "synthetic", "seed",
    # … how its encoder came about …
    "pruned", "started_from", "activation_scales", "members",
    # … its graph and tokenizer …
    "layout", "model_type", "model", "onnx_files", "precision", "opset", "ir_version", "stored", "tokenizer",
    # … and its heads, unless these are what changed.
    "operating_point", "heads", "scores",
)  # fmt: skip
"""All else was found of the folder that was copied: figures, parity, company, sizes."""


@dataclass(frozen=True)
class Copy:
    """What the card is of: the copy itself, of which nothing is measured yet."""

    checkpoint: manifest.Manifest
    measured: None = None

    @property
    def name(self) -> str:
        return self.checkpoint.name

    @property
    def precision(self) -> str:
        return str(self.checkpoint.fields.get("precision", ""))

    @property
    def source(self) -> Path:
        return self.checkpoint.folder

    @property
    def taxonomy(self) -> Taxonomy:
        return Taxonomy.from_json(json.loads((self.source / TAXONOMY).read_text(encoding="utf-8")))


def refuse(old: manifest.Manifest) -> None:
    """UserError for a folder that holds the model twice, of which a copy would change only one."""
    if old.fields.get("layout") == "sentence-transformers":
        raise UserError(
            f"{old.folder} is a serving folder of sentence-transformers, with graphs of its own: give the PyTorch"
            " checkpoint that it was exported from, and export what is written"
        )


def write(folder: Path, old: manifest.Manifest, changed: Mapping[str, Any]) -> manifest.Manifest:
    """The manifest of a changed copy of `old`; of a serving folder also card, smoke text and sizes, all found anew."""
    fields = {name: value for name, value in old.fields.items() if name in KEPT} | dict(changed)
    target = (old.fields.get("performance") or {}).get("target_latency_ms")
    if target is not None:
        fields["performance"] = {"target_latency_ms": target}  # aimed at, not measured
    if old.kind != "onnx":
        return manifest.write(folder, fields)
    page = card.of_raxe_folder(Copy(manifest.Manifest(folder, fields)), fields)
    (folder / "README.md").write_text(page, encoding="utf-8")
    manifest.write(folder, fields)
    fields["smoke"] = vars(smoke.ask(open_pipeline(folder)))
    return manifest.write(folder, fields | {"bytes_by_group": ledger.compare(old.folder, folder)})
