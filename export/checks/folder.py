"""A serving folder held against its manifest and its layout's promise, check by check."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core import manifest
from core.errors import UserError
from core.schema.serving import Layout
from export.checks import bundle, graphs, reading, tokenizer
from export.checks.layout import PROMISES, Promise

NEAR = 0.05  # a processor with other integer products may differ so much from the one that made the folder
Finding = tuple[str, list[str]]
"""What was looked at, and what is wrong there; nothing where all is well."""


def check(folder: Path) -> Iterator[Finding]:
    """Every check in turn. UserError where hashes or manifest already fail, for the rest would say nothing."""
    verified = manifest.read(folder)
    fields = verified.fields
    layout: Layout | None = fields.get("layout", "raxe-folder" if verified.kind == "onnx" else None)
    if layout not in PROMISES:
        raise UserError(f"{folder} is a checkpoint ({verified.kind}), no serving folder; export.run makes one of it")
    promise = PROMISES[layout]
    yield f"{len(fields['files'])} files with their SHA-256, layout {layout}", []
    paths = sorted(folder.glob(promise.graphs))
    if not paths or (len(paths) > 1 and layout != "sentence-transformers"):
        yield "graph", [f"{len(paths)} files {promise.graphs}; the consumer takes one"]
        return
    entries = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("vocab_size")
    yield "tokenizer", tokenizer.problems(folder, fields.get("tokenizer") or {}, entries, not promise.cuts)
    if layout == "raxe-bundle":
        yield from _bundle(folder, fields)
    yield from _heads(folder, promise, int(fields["embedding_dim"]))
    for path in paths:
        session = graphs.open_session(path)
        name = path.relative_to(folder).as_posix()
        own = {**fields, **(fields.get("graphs") or {}).get(name, {})}
        faults = graphs.problems(path, session, promise, own)
        yield name, faults
        if not faults and "smoke" in own:
            embedding = reading.embed(folder, session, promise, own["smoke"]["text"], verified.max_length)
            yield f"smoke text through {path.name}", _smoke(folder, promise, own["smoke"], embedding)


def _bundle(folder: Path, fields: Mapping[str, Any]) -> Iterator[Finding]:
    path = folder / fields["model"]["bundle_file"]
    faults, embedding = bundle.problems(path)
    for key in ("embedding_dim", "max_length"):
        if embedding and embedding.get(key) != fields[key]:
            faults.append(f"embedding_config.json says {key} {embedding.get(key)}, the manifest {fields[key]}")
    yield f"{path.name} (its pickles by hash alone)", faults
    name = embedding.get("model_name", "")
    if (local := Path(name)).is_absolute():
        moved = not local.is_dir() or manifest.file_hash(local / "tokenizer.json") != fields["files"]["tokenizer.json"]
        remedy = (
            f"its tokenizer is loaded from {name}, where that tokenizer is not: export with export.bundle_tokenizer"
        )
        yield "the bundle's tokenizer", [remedy] if moved else []


def _heads(folder: Path, promise: Promise, dimension: int) -> Iterator[Finding]:
    for name in promise.heads:
        path = folder / f"classifier_{name}.onnx"
        if not path.is_file():
            yield path.name, ["it is missing"]
            continue
        classes = reading.class_names(folder, promise, name)
        yield path.name, graphs.head_problems(graphs.open_session(path), dimension, classes, promise.maps)


def _smoke(folder: Path, promise: Promise, stated: Mapping[str, Any], embedding: np.ndarray) -> list[str]:
    """What the consumer gets for the text, beside what the pipeline said when the folder was made."""
    first = np.array(stated["embedding"])
    apart = float(np.abs(embedding[0, : len(first)] - first).max())
    if not apart <= NEAR:
        return [
            f"its embedding is {apart:.3f} off what the manifest states: order of outputs, tokenizer or graph differ"
        ]
    if not promise.heads:
        return []
    binary = next(iter(promise.heads))
    attack = reading.probabilities(folder / f"classifier_{binary}.onnx", embedding)[1]
    if abs(attack - stated["attack_probability"]) > NEAR:
        return [f"its attack probability is {attack:.3f}, the manifest states {stated['attack_probability']:.3f}"]
    return []
