"""Run by an interpreter with raxe-ce at 0cd953e on its path: validator, registry and folder detector on texts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from raxe.domain.engine.executor import ScanResult
from raxe.domain.ml.manifest_loader import ManifestLoader
from raxe.domain.ml.model_registry import ModelRegistry
from raxe.domain.ml.tokenizer_registry import TokenizerRegistry


def main(folder: Path, texts: Path, answers: Path) -> None:
    """texts: a JSON list; answers: a folder for a JSON object. The folder's parent is the registry's."""
    manifest = ManifestLoader(strict=True).load_manifest(folder / "manifest.yaml")  # raises where its validator would
    tokenizer = manifest["tokenizer"]
    fits, faults = TokenizerRegistry().validate_tokenizer(
        tokenizer["name"], tokenizer["config"], manifest["model"]["embedding_model"]
    )
    registry = ModelRegistry(folder.parent)
    known = registry.get_model(folder.name)
    detector = registry.create_detector(folder.name)
    rows = []
    for text in json.loads(texts.read_text(encoding="utf-8")):
        result = detector.analyze(text, ScanResult([], "1970-01-01T00:00:00Z", len(text), 0, 0.0))
        found = result.predictions[0].metadata if result.predictions else {}
        row = {
            "attack": bool(result.predictions),
            "probability": result.confidence,
            "error": result.metadata.get("error"),
        }
        rows.append(row | {"family": found.get("family"), "subfamily": found.get("sub_family")})
    told = {"fits": fits, "faults": faults, "status": known.status.value, "runtime": known.runtime_type, "rows": rows}
    told["performance"] = vars(known.performance)
    told["accuracy"] = vars(known.accuracy) if known.accuracy else None
    told["best"] = {
        name: registry.get_best_model(name).model_id for name in ("latency", "accuracy", "memory", "balanced")
    }
    (answers / "answers.json").write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
