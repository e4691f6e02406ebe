"""The manifest of a checkpoint or serving folder: what it is, where it came from, and the hash of every file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from core import serving
from core.errors import UserError
from core.folders import atomic_write

NAME = "manifest.yaml"
LOADER = getattr(
    yaml, "CSafeLoader", yaml.SafeLoader
)  # in C where there is one: a guard opens a tenth of a second sooner
REQUIRED = ("name", "version", "status", "kind", "embedding_dim", "max_length", "files")
LINEAGE = ("pruned", "started_from")
"""What was cut off its ancestors, and which one its training went on from; left out where neither happened."""


@dataclass(frozen=True)
class Manifest:
    """A verified manifest."""

    folder: Path
    fields: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.fields["name"])

    @property
    def kind(self) -> str:
        """torch: model.safetensors; onnx: an embeddings graph; lexical: vocab.json, idf.safetensors; ensemble:
        members."""
        return str(self.fields["kind"])

    @property
    def max_length(self) -> int:
        return int(self.fields["max_length"])

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of every file and, under `serving`, of what the manifest says of serving, where it says anything."""
        found = dict(self.fields.get("files") or {})
        if asked := self.fields.get(serving.KEY):
            found[serving.KEY] = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        return found

    @property
    def digest(self) -> str:
        """SHA-256 over `hashes`: the identity of what the folder answers."""
        lines = (f"{path} {digest}" for path, digest in sorted(self.hashes.items()))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @property
    def lineage(self) -> dict[str, Any]:
        """Name and digest, and what is known of its ancestors, for the manifest of what is made from it."""
        known = {key: self.fields[key] for key in LINEAGE if key in self.fields}
        return {"name": self.name, "digest": self.digest, **known}


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _files(folder: Path) -> set[str]:
    """Every file of the folder but the manifest itself and hidden ones (what a hub or a desktop leaves behind)."""
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name for name in names if name != NAME and not Path(name).name.startswith(".")}


def write(folder: Path, fields: Mapping[str, Any]) -> Manifest:
    """Hashes every file of the folder and writes manifest.yaml beside them; the last step of making a folder."""
    files = {name: file_hash(folder / name) for name in sorted(_files(folder))}
    complete = {**fields, "files": files}
    atomic_write(folder / NAME, yaml.safe_dump(complete, sort_keys=False, allow_unicode=True))
    return Manifest(folder, complete)


def read(folder: Path) -> Manifest:
    """Reads and verifies a folder: every listed file is there with its hash.

    Raises UserError that names the first missing or changed file.
    """
    if not folder.is_dir():
        raise UserError(f"no checkpoint folder at {folder}; train one, or give checkpoint=FOLDER")
    path = folder / NAME
    if not path.is_file():
        raise UserError(f"{folder} is not one of our checkpoints: it holds no {NAME}")
    try:
        fields = yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)
        missing = [key for key in REQUIRED if key not in fields]
    except (yaml.YAMLError, UnicodeDecodeError, TypeError) as error:
        raise UserError(f"{path} is damaged and cannot be read; restore the folder from its source") from error
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}; it was not written by this package")
    if not isinstance(fields["files"], dict):
        raise UserError(f"{path} is damaged: `files` is no table of hashes; restore the folder from its source")
    if not all(isinstance(fields[key], int) for key in ("embedding_dim", "max_length")):
        raise UserError(f"{path} is damaged: embedding_dim and max_length must be whole numbers")
    for name, expected in fields["files"].items():
        part = folder / name
        if folder.resolve() not in part.resolve().parents:
            raise UserError(f"{path} lists {name}, which lies outside the folder; do not use this checkpoint")
        if not part.is_file():
            raise UserError(f"{part} is missing but listed in {NAME}; restore the folder from its source")
        if file_hash(part) != expected:
            raise UserError(
                f"{part} does not match its SHA-256 in {NAME}: the file was changed or damaged;"
                " restore the folder from its source or export it again"
            )
    for extra in sorted(_files(folder) - set(fields["files"])):
        raise UserError(f"{folder / extra} is not listed in {NAME}: nothing vouches for it; remove it")
    return Manifest(folder, fields)
