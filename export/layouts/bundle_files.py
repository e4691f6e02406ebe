"""The seven files of a .raxe bundle, and packing them so that the same content gives the same bytes."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core import clusters, triggers
from core.checkpoint import Classifier
from core.heads import LinearHead
from core.rows import Taxonomy
from export.layouts import joblib_heads
from export.layouts.product import Product

VERSION = "1.0.0"  # of the bundle's form, the one that its loader accepts
MANIFEST = "manifest.json"
CLASSIFIER, CLUSTERS = "classifier.joblib", "attack_clusters.joblib"
UNDATED = "1980-01-01T00:00:00+00:00"  # of a checkpoint that does not say when it was made
SCORES = ("attack_probability", "family_confidence", "subfamily_confidence")


def content(
    product: Product, described: Mapping[str, Any], classifier: Classifier[LinearHead], tokenizer: str
) -> dict[str, bytes]:
    """Every file by name; described: the fields of the folder's manifest.yaml."""
    dimension = int(described["embedding_dim"])
    found = clusters.read(product.source, dimension)
    embedding = {
        "model_name": tokenizer,
        "embedding_dim": dimension,
        "max_length": described["max_length"],
        "normalize": True,
    }
    files = {
        CLASSIFIER: joblib_heads.classifier(classifier),
        CLUSTERS: joblib_heads.clusters(found, dimension),
        triggers.FILE: _json(_triggers(product.source)),
        "embedding_config.json": _json(embedding),
        "training_stats.json": _json(_training(product, described)),
        "schema.json": _json(schema(classifier.taxonomy)),
    }
    checksums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    return {MANIFEST: _json(_manifest(product, described, checksums, found is not None))} | files


def pack(files: Mapping[str, bytes]) -> bytes:
    """A ZIP archive without dates."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def _manifest(
    product: Product, described: Mapping[str, Any], checksums: Mapping[str, str], clustered: bool
) -> dict[str, Any]:
    taxonomy, provenance = product.taxonomy, described.get("provenance") or {}
    return {
        "bundle_version": VERSION,
        "schema_version": VERSION,
        "model_id": hashlib.sha256("".join(sorted(checksums.values())).encode()).hexdigest(),
        "created_at": provenance.get("timestamp", UNDATED),
        "metadata": {
            "author": "raxe-distill",
            "description": f"{product.checkpoint.name} as {product.precision}",
            "license": "of the weights: not stated",
            "tags": ["prompt-injection", "jailbreak-detection"],
        },
        "architecture": {
            "embedding_model": described["tokenizer"]["name"],
            "embedding_dim": described["embedding_dim"],
            "classifier_type": "LogisticRegression",
            "num_heads": 3,
            "heads": ["binary", "family", "subfamily"],
        },
        "training": _training(product, described),
        "capabilities": {
            "families": [*taxonomy.families, taxonomy.benign_family],
            "num_subfamilies": len(taxonomy.subfamilies),
            "has_explainability": True,
            "has_clustering": clustered,
            "has_trigger_matching": True,
        },
        "output_schema_ref": "schema.json",
        "checksums": dict(checksums),
    }


def _training(product: Product, described: Mapping[str, Any]) -> dict[str, Any]:
    """Measured figures where there are any, else those of validation when the checkpoint was made."""
    metrics = described.get("accuracy") or product.checkpoint.fields.get("scores") or {}
    config = (described.get("provenance") or {}).get("config") or {}
    return {"metrics": metrics, "measured": described.get("measured"), "config": config}


def _triggers(source: Path) -> dict[str, Any]:
    """By name; the consumer finds a `pattern` anywhere in the text, and passes over what has none."""
    stored: dict[str, Any] = json.loads((source / triggers.FILE).read_text(encoding="utf-8"))
    if isinstance(stored.get("keywords"), list):  # as older checkpoints have it
        return {row["phrase"]: {"pattern": row["phrase"], **row} for row in stored["keywords"]}
    return stored


def schema(taxonomy: Taxonomy) -> dict[str, Any]:
    """JSON schema of a prediction."""
    share = {"type": "number", "minimum": 0, "maximum": 1}
    words = {"type": "array", "items": {"type": "string"}}
    similar = {"text": {"type": "string"}, "subfamily": {"type": "string"}, "similarity": {"type": "number"}}
    properties = {
        "is_attack": {"enum": [0, 1]},
        "family": {"enum": [*taxonomy.families, taxonomy.benign_family]},
        "sub_family": {"enum": [*taxonomy.subfamilies, taxonomy.benign_subfamily]},
        "scores": {"type": "object", "properties": dict.fromkeys(SCORES, share), "required": list(SCORES)},
        "why_it_hit": words,
        "recommended_action": words,
        "trigger_matches": words,
        "similar_attacks": {"type": "array", "items": {"type": "object", "properties": similar}},
        "uncertain": {"type": "boolean"},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "prediction",
        "type": "object",
        "properties": properties,
        "required": list(properties),
    }


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
