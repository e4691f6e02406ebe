"""A .raxe bundle, looked at without loading what is in it: archive, files, hashes, the JSON that its loader reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export import archive

VERSION = "1.0.0"
FILES = {
    "manifest.json",
    "classifier.joblib",
    "keyword_triggers.json",
    "attack_clusters.joblib",
    "embedding_config.json",
    "training_stats.json",
    "schema.json",
}
MANIFEST = {
    "bundle_version",
    "schema_version",
    "model_id",
    "created_at",
    "metadata",
    "architecture",
    "training",
    "capabilities",
    "output_schema_ref",
    "checksums",
}
EMBEDDING = {"model_name", "embedding_dim", "max_length", "normalize"}


def problems(path: Path) -> tuple[list[str], dict[str, Any]]:
    """What is wrong, a sentence each, and embedding_config.json; UserError for a hostile or broken archive."""
    files = archive.read(path)
    if missing := sorted(FILES - set(files)):
        return [f"it lacks {', '.join(missing)}"], {}
    found, read = list[str](), dict[str, Any]()
    for name in sorted(name for name in files if name.endswith(".json")):
        try:
            read[name] = json.loads(files[name])
        except ValueError as error:
            found.append(f"{name} is no JSON ({error})")
    if found:
        return found, {}
    found += _manifest(read["manifest.json"], files)
    embedding = read["embedding_config.json"]
    found += [f"embedding_config.json lacks {key}" for key in sorted(EMBEDDING - set(embedding))]
    return found, embedding


def _manifest(manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> list[str]:
    found = [f"manifest.json lacks {key}" for key in sorted(MANIFEST - set(manifest))]
    if found:
        return found
    if manifest["bundle_version"] != VERSION:
        found.append(f"its bundle_version is {manifest['bundle_version']}, the loader knows {VERSION}")
    checksums = manifest["checksums"]
    for name in sorted(set(files) - {"manifest.json"}):
        if name not in checksums:
            found.append(f"{name} is not in the checksums: nothing vouches for it")
        elif hashlib.sha256(files[name]).hexdigest() != checksums[name]:
            found.append(f"{name} does not match its checksum: it was changed or damaged")
    return found + [f"{name} is in the checksums, but not there" for name in sorted(set(checksums) - set(files))]
