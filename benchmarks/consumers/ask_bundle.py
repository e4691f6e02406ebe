"""Run by an interpreter with raxe-ce at 8dd7d88 on its path: bundle loader, registry and detector on texts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from raxe.domain.engine.executor import ScanResult
from raxe.domain.ml.bundle_detector import BundleBasedDetector
from raxe.domain.ml.bundle_loader import ModelBundleLoader
from raxe.domain.ml.model_registry import ModelRegistry


def main(folder: Path, texts: Path, answers: Path) -> None:
    """texts: a JSON list; answers: a folder for a JSON object. The folder is also the registry's folder of models."""
    registry = ModelRegistry(folder)
    (model,) = registry.list_models()
    bundle, graph = model.file_path, folder / model.file_info.onnx_embeddings
    valid, faults = ModelBundleLoader().validate_bundle(bundle)
    # Not by the registry's create_detector: it hands its factory an argument that the factory does not have.
    detector = BundleBasedDetector(bundle_path=bundle, onnx_model_path=graph)
    rows = []
    for text in json.loads(texts.read_text(encoding="utf-8")):
        result = detector.analyze(text, ScanResult([], "1970-01-01T00:00:00Z", len(text), 0, 0.0))
        found = result.predictions[0].metadata if result.predictions else {}
        row = {"attack": bool(result.predictions), "probability": found.get("scores", {}).get("attack_probability")}
        row |= {"family": found.get("family"), "subfamily": found.get("sub_family")}
        rows.append(row | {"triggers": found.get("trigger_matches"), "error": result.metadata.get("error")})
    told = {"valid": valid, "faults": faults, "model": model.model_id, "status": model.status.value, "rows": rows}
    told["performance"] = vars(model.performance)
    (answers / "answers.json").write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
