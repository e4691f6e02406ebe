"""A self-describing folder: encoder in sentence-transformers' layout, tokenizer, heads, triggers and manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from safetensors.torch import save_file

from core import calibration, head_graph, heads, manifest, triggers
from core.calibration import Calibration
from core.errors import UserError
from core.folders import new_folder, write_json
from core.heads import Head, LinearHead, OperatingPoint, Origin
from core.model import SentenceEncoder
from core.pretrained import weights, write_encoder
from core.rows import Taxonomy
from core.tokenizer import TextTokenizer

RAW_HEADS = "heads.safetensors"  # before operating point and calibration, linear ones: what training goes on from
TAXONOMY = "taxonomy.json"
HUB_TOKENIZER = "sentence-transformers/all-mpnet-base-v2"
HUB_RULES = "8107c809d782bf1738e22664d345c5dcf5a96b677cb24c3aa1e82f9d92089eb6"  # `TextTokenizer.hash` of that one
AnyHead = TypeVar("AnyHead", bound=Head, covariant=True)


@dataclass(frozen=True)
class Classifier(Generic[AnyHead]):
    """Everything beside the encoder that turns an embedding into a decision."""

    heads: Mapping[str, AnyHead]
    point: OperatingPoint
    taxonomy: Taxonomy
    triggers: list[triggers.Trigger]
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)
    """Of the family and sub-family heads, by name; none where their probabilities are served as they come."""


def read_torch(folder: Path) -> manifest.Manifest:
    """The verified manifest of a PyTorch checkpoint; UserError for any other folder."""
    verified = manifest.read(folder)
    if verified.kind != "torch":
        raise UserError(
            f"{folder} is of kind {verified.kind}, and a PyTorch checkpoint is needed: give one, for an ONNX folder the"
            " one that it was made of"
        )
    return verified


def describe(point: OperatingPoint) -> dict[str, Any]:
    """The operating point as the manifest holds it."""
    return {"threshold": point.threshold, **asdict(point)}


def write_classifier(folder: Path, classifier: Classifier[Head], max_length: int, raw: bool = True) -> None:
    """Writes the served heads, labels, triggers and metadata, and with `raw` the heads that training goes on from.

    Only linear heads have such: for others a raw file that stood there is removed.
    """
    head_graph.write_heads(folder, classifier.heads, classifier.point, classifier.calibrations)
    (folder / RAW_HEADS).unlink(missing_ok=True)
    if raw and all(isinstance(head, LinearHead) for head in classifier.heads.values()):
        save_file(_raw(classifier), folder / RAW_HEADS)
    taxonomy = classifier.taxonomy
    names = {"family": taxonomy.families, "subfamily": taxonomy.subfamilies}
    encoders = {key: {str(index): name for index, name in enumerate(values)} for key, values in names.items()}
    write_json(folder / "label_encoders.json", encoders)
    write_json(folder / TAXONOMY, taxonomy.to_json())
    metadata = {"embedding_dim": classifier.heads["binary"].dimension, "max_length": max_length, "version": "0.1.0"}
    write_json(folder / "model_metadata.json", metadata | {"embedding_model": tokenizer_name(folder)})
    triggers.save(folder, classifier.triggers)


def tokenizer_name(folder: Path) -> str:
    """By which name consumers know the folder's tokenizer: the hub's where it is that one, else what no hub holds."""
    if not (folder / "tokenizer.json").is_file():
        return HUB_TOKENIZER
    tokenizer = TextTokenizer.open(folder, 512)
    return HUB_TOKENIZER if tokenizer.hash() == HUB_RULES else f"own vocabulary of {tokenizer.size} tokens"


def _raw(classifier: Classifier[Head]) -> dict[str, torch.Tensor]:
    """Weights, biases and calibrations of linear heads, by head and part."""
    parts = {
        name: {"weight": head.weight, "bias": head.bias}
        for name, head in classifier.heads.items()
        if isinstance(head, LinearHead)
    }
    for name, fitted in classifier.calibrations.items():
        parts[name] |= calibration.to_arrays(fitted)
    return {
        # scikit-learn hands over column-major coefficients, which safetensors refuses
        f"{name}.{part}": torch.from_numpy(np.ascontiguousarray(array))
        for name, arrays in parts.items()
        for part, array in arrays.items()
    }


def save(
    folder: Path,
    encoder: SentenceEncoder,
    classifier: Classifier[Head],
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


def load_classifier(folder: Path, fields: Mapping[str, Any]) -> Classifier[LinearHead]:
    """Reads the raw heads, labels, triggers, operating point and calibrations of a verified checkpoint.

    UserError where it has no raw heads, because they are not linear or because the folder only serves.
    """
    if not (folder / RAW_HEADS).is_file():
        kind = fields.get("heads", {}).get("kind", "of a serving folder")
        raise UserError(
            f"{folder} has no {RAW_HEADS}: its heads ({kind}) can only be served, not trained further or learnt from;"
            " give a PyTorch checkpoint with linear heads (python -m distill.fit_heads … checkpoint=FOLDER"
            " heads.kind=logistic writes one from any PyTorch checkpoint)"
        )
    arrays: dict[str, dict[str, Any]] = {name: {} for name in heads.HEADS}
    for key, tensor in weights(folder / RAW_HEADS).items():
        name, _, part = key.partition(".")
        arrays[name][part] = tensor.numpy()
    parts = {name: LinearHead(stored["weight"], stored["bias"]) for name, stored in arrays.items()}
    fitted = {name: calibration.from_arrays(stored) for name, stored in arrays.items()}
    taxonomy = Taxonomy.from_json(json.loads((folder / TAXONOMY).read_text(encoding="utf-8")))
    stored = fields["operating_point"]
    origin = Origin(**stored["origin"]) if stored.get("origin") else None
    knots = tuple((float(score), float(value)) for score, value in stored.get("knots", ()))
    return Classifier(
        parts,
        OperatingPoint(stored["logit"], stored["scale"], origin, knots),
        taxonomy,
        list(triggers.TriggerMatcher.open(folder).triggers),
        {name: found for name, found in fitted.items() if found is not None},
    )
