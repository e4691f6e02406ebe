"""A self-describing folder: encoder in sentence-transformers' layout, tokenizer, heads, triggers and manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from core import head_graph, heads, manifest, triggers
from core.folders import new_folder, write_json
from core.heads import LinearHead, OperatingPoint, Origin
from core.model import SentenceEncoder
from core.pretrained import weights, write_encoder
from core.rows import Taxonomy

RAW_HEADS = "heads.safetensors"  # before the operating point: what training goes on from
TAXONOMY = "taxonomy.json"


@dataclass(frozen=True)
class Classifier:
    """Everything beside the encoder that turns an embedding into a decision."""

    heads: Mapping[str, LinearHead]
    point: OperatingPoint
    taxonomy: Taxonomy
    triggers: list[triggers.Trigger]


def describe(point: OperatingPoint) -> dict[str, Any]:
    """The operating point as the manifest holds it."""
    return {"threshold": point.threshold, **asdict(point)}


def write_classifier(folder: Path, classifier: Classifier, max_length: int, raw: bool = True) -> None:
    """Writes the served heads, labels, triggers and metadata, and with `raw` the heads that training goes on from."""
    head_graph.write_linear_heads(folder, classifier.heads, classifier.point)
    raw_weights = {
        # scikit-learn hands over column-major coefficients, which safetensors refuses
        f"{name}.{part}": torch.from_numpy(np.ascontiguousarray(getattr(head, part)))
        for name, head in classifier.heads.items()
        for part in ("weight", "bias")
    }
    if raw:
        save_file(raw_weights, folder / RAW_HEADS)
    taxonomy = classifier.taxonomy
    names = {"family": taxonomy.families, "subfamily": taxonomy.subfamilies}
    encoders = {key: {str(index): name for index, name in enumerate(values)} for key, values in names.items()}
    write_json(folder / "label_encoders.json", encoders)
    write_json(folder / TAXONOMY, taxonomy.to_json())
    dimension = int(classifier.heads["binary"].weight.shape[1])
    metadata = {"embedding_dim": dimension, "max_length": max_length, "version": "0.1.0"}
    write_json(
        folder / "model_metadata.json", metadata | {"embedding_model": "sentence-transformers/all-mpnet-base-v2"}
    )
    triggers.save(folder, classifier.triggers)


def save(
    folder: Path,
    encoder: SentenceEncoder,
    classifier: Classifier,
    max_length: int,
    tokenizer_folder: Path,
    fields: Mapping[str, Any],
) -> manifest.Manifest:
    """Writes a whole checkpoint, or nothing; `fields` go into the manifest (name, parent, seed, scores, provenance)."""
    with new_folder(folder) as temporary:
        write_encoder(temporary, encoder, max_length, tokenizer_folder)
        write_classifier(temporary, classifier, max_length)
        basis = {"version": "0.1.0", "status": "experimental", "kind": "torch"}
        shape = {"embedding_dim": encoder.spec.embedding_size, "max_length": max_length}
        point = {"operating_point": describe(classifier.point)}
        manifest.write(temporary, {"name": folder.name, **basis, **shape, **point, **fields})
    return manifest.read(folder)


def load_classifier(folder: Path, fields: Mapping[str, Any]) -> Classifier:
    """Reads the raw heads, labels, triggers and operating point of a verified checkpoint."""
    raw = weights(folder / RAW_HEADS)
    parts = {name: LinearHead(raw[f"{name}.weight"].numpy(), raw[f"{name}.bias"].numpy()) for name in heads.HEADS}
    taxonomy = Taxonomy.from_json(json.loads((folder / TAXONOMY).read_text(encoding="utf-8")))
    stored = fields["operating_point"]
    origin = Origin(**stored["origin"]) if stored.get("origin") else None
    point = OperatingPoint(stored["logit"], stored["scale"], origin)
    learned = list(triggers.TriggerMatcher.open(folder).triggers)
    return Classifier(parts, point, taxonomy, learned)
