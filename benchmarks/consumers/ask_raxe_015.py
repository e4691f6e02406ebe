"""Run by an interpreter that has raxe 0.15.0: its detector on texts; imports nothing of this project."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from raxe.domain.engine.executor import ScanResult
from raxe.domain.ml import gemma_models
from raxe.domain.ml.gemma_detector import GemmaL2Detector
from raxe.infrastructure.models.discovery import ModelDiscoveryService

ENUMS = ("ThreatFamily", "Severity", "PrimaryTechnique", "HarmType")


def classes() -> dict[str, list[str]]:
    """Each enumeration's names in the order of its `from_index`, as outputs of a head are read."""
    found = {}
    for name in ENUMS:
        kind = getattr(gemma_models, name)
        found[name] = [kind.from_index(index).value for index in range(len(kind))]
    return found


def main(folder: Path, texts: Path, answers: Path) -> None:
    """texts: a JSON list; answers: a folder for a JSON object."""
    # No search by name: the service would first ask for a model from the network.
    discovered = ModelDiscoveryService(folder.parent)._validate_onnx_folder(folder)
    detector = GemmaL2Detector(folder)
    rows = []
    for text in json.loads(texts.read_text(encoding="utf-8")):
        result = detector.analyze(text, ScanResult([], "1970-01-01T00:00:00Z", len(text), 0, 0.0))
        found = result.predictions[0].metadata if result.predictions else {}
        head = (result.metadata.get("classification_result") or {}).get("raw_threat_probability")
        row = {"attack": bool(result.predictions), "probability": head, "action": result.recommended_action}
        row |= {"family": found.get("family"), "severity": found.get("severity")}
        rows.append(row | {"technique": found.get("primary_technique"), "error": result.metadata.get("error")})
    told = {"version": detector.model_info["version"], "discovered": discovered, "classes": classes(), "rows": rows}
    (answers / "answers.json").write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
