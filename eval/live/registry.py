"""The rules of raxe-ce's model registry (commit 0cd953e, raxe.domain.ml.model_registry): what it lists and scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from core.errors import UserError
from eval.schema.live_choice import Candidate, Criteria, Skipped, Status

MANIFEST = "manifest.yaml"
UNKNOWN = 50.0  # points for a figure that the manifest lacks
LATENCY_WEIGHT, ACCURACY_WEIGHT = 0.6, 0.4
STATUSES: tuple[Status, ...] = ("active", "experimental", "deprecated")
NEEDED = ("embeddings*.onnx", "classifier_binary*.onnx", "label_encoders.json", "tokenizer.json")


class Unlisted(Exception):  # noqa: N818, it is how the registry's own error path is told from ours
    """The registry logs an error and goes on without this folder."""


def read(folder: Path, name: str) -> Candidate | Skipped:
    """A folder called `name` as the registry lists it. UserError: a figure of its manifest on which scoring stops."""
    try:
        return _listed(folder, name)
    except Unlisted as error:
        return Skipped(folder=str(folder), reason=str(error))


def _listed(folder: Path, name: str) -> Candidate:
    """`_load_manifest_model` and `_manifest_to_metadata`: not strict, so a faulty manifest is mostly taken as it is."""
    manifest = _manifest(folder / MANIFEST)
    status, file = _status_and_file(manifest)
    if status not in STATUSES:
        raise Unlisted(f"status is {status!r}, none of {', '.join(STATUSES)}")
    if manifest.get("tokenizer"):
        _mapping(manifest, "tokenizer")
    performance = _mapping(manifest, "performance")
    accuracy = _mapping(manifest, "accuracy") if manifest.get("accuracy") else {}
    return Candidate(
        folder=str(folder),
        model_id=str(manifest.get("model_id") or name),
        status=status,
        p95_ms=_number(performance, "p95_latency_ms", folder),
        binary_f1=_number(accuracy, "binary_f1", folder),
        memory_mb=_number(performance, "memory_mb", folder),
        refused=_refused(folder, file),
    )


def _status_and_file(manifest: Mapping[str, Any]) -> tuple[Any, str | None]:
    """The status, and the file the model is in, None: the folder itself (in the order of `_adapt_manifest_format`)."""
    status, model = manifest.get("status", "experimental"), manifest.get("model", {})
    if not isinstance(model, Mapping | str | list):
        raise Unlisted(f"model is {model!r}, no section")
    if "bundle_file" in model:
        model = _mapping(manifest, "model")
        return status, None if model.get("model_type") == "onnx_only" else str(model["bundle_file"] or "") or None
    if manifest.get("model_type") == "onnx_only" or "onnx_files" in manifest:
        _mapping(manifest, "metadata")
        return status, None
    if "file_info" in manifest:  # the oldest form
        status = _mapping(manifest, "metadata").get("status", status)
        if not isinstance(name := _mapping(manifest, "file_info").get("filename", ""), str):
            raise Unlisted(f"file_info.filename is {name!r}, no name")
        return status, name or None
    _mapping(manifest, "model")
    return status, None


def _manifest(path: Path) -> Mapping[str, Any]:
    if not path.exists():
        raise Unlisted(f"it has no {MANIFEST}")
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Unlisted(f"{MANIFEST} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(found, Mapping):
        raise Unlisted(f"{MANIFEST} holds no sections")
    return found


def _mapping(manifest: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = manifest.get(name, {})
    if not isinstance(section, Mapping):
        raise Unlisted(f"{name} is {section!r}, no section")
    return section


def _number(section: Mapping[str, Any], name: str, folder: Path) -> float | None:
    """0 and empty count as unknown there too."""
    value = section.get(name)
    if not value:
        return None
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(
            f"{folder / MANIFEST}: {name} is {value!r}, on which the registry's scoring stops for all models, or errs:"
            " write a finite number"
        )
    return float(value)


def _refused(folder: Path, file: str | None) -> str | None:
    """`create_detector` takes folders only, and `FolderL2Detector` stops without these files."""
    if file is not None and not (folder / file).is_dir():
        there = "is a file" if (folder / file).exists() else "is not there"
        return f"its manifest names {file}, which {there}: detectors are made of folders only"
    lacking = [pattern for pattern in NEEDED if not any(folder.glob(pattern))]
    return f"it lacks {', '.join(lacking)}" if lacking else None


class Points(NamedTuple):
    """A score and how it came about."""

    score: float
    sentence: str


def score(candidate: Candidate, criteria: Criteria) -> Points:
    """`ModelMetadata.score_for_criteria`; below 5 ms, and below 50 MB, there are more than 100 points."""
    match criteria:
        case "latency":
            if candidate.p95_ms is None:
                return Points(UNKNOWN, "P95 not in the manifest: 50")
            points = max(0.0, 100 - (candidate.p95_ms - 5))
            return Points(points, f"P95 {candidate.p95_ms:g} ms: 100 - ({candidate.p95_ms:g} - 5)")
        case "accuracy":
            if candidate.binary_f1 is None:
                return Points(UNKNOWN, "F1 not in the manifest: 50")
            return Points(candidate.binary_f1 * 100, f"F1 {candidate.binary_f1:g}: 100 x {candidate.binary_f1:g}")
        case "memory":
            if candidate.memory_mb is None:
                return Points(UNKNOWN, "memory not in the manifest: 50")
            points = max(0.0, 100 - (candidate.memory_mb - 50) / 2)
            return Points(points, f"memory {candidate.memory_mb:g} MB: 100 - ({candidate.memory_mb:g} - 50) / 2")
        case "balanced":
            fast, right = score(candidate, "latency"), score(candidate, "accuracy")
            points = fast.score * LATENCY_WEIGHT + right.score * ACCURACY_WEIGHT
            parts = f"0.6 x {fast.score:.2f} ({fast.sentence}) + 0.4 x {right.score:.2f} ({right.sentence})"
            return Points(points, parts)
