"""The measured reports that lie beside a checkpoint: which of them speak of it, and the figures they hold."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import manifest
from core.errors import UserError
from core.serving import KEY
from eval import report
from eval.schema import Report

FIRST = ("test", "validation")  # splits, the more telling first; then all others
ACCURACY = ("binary_f1", "family_f1", "subfamily_f1", "false_positive_rate", "false_negative_rate")
LATENCY = {"p50_latency_ms": "p50_ms", "p95_latency_ms": "p95_ms", "p99_latency_ms": "p99_ms"}


@dataclass(frozen=True)
class Measured:
    """Reports on one model, on several splits, the most telling first."""

    reports: tuple[Report, ...]
    digests: tuple[str, ...]
    """SHA-256 of each report.json."""
    own: bool
    """They judged this very graph; else the PyTorch checkpoint that it was made from."""

    @property
    def headline(self) -> Report:
        return self.reports[0]

    def accuracy(self) -> dict[str, float]:
        """Figures of the headline report, by the names that consumers read; what it cannot say is left out."""
        values = {name: getattr(self.headline.accuracy, name) for name in ACCURACY}
        return {name: value for name, value in values.items() if value is not None}

    def performance(self) -> dict[str, float]:
        """Milliseconds and megabytes; empty unless this very graph was timed."""
        if not self.own:
            return {}
        latency, memory = self.headline.latency, self.headline.resources.memory_usage_mb
        found = {name: getattr(latency, key) for name, key in LATENCY.items()} if latency else {}
        return found | ({} if memory is None else {"memory_mb": memory})

    def sections(self, performance: Mapping[str, Any]) -> dict[str, Any]:
        """What a manifest quotes, beside what it says of performance without measuring; empty sections left out."""
        sections = {"performance": {**performance, **self.performance()}, "accuracy": self.accuracy()}
        return {name: section for name, section in sections.items() if section} | {"measured": self.origin()}

    def origin(self) -> dict[str, Any]:
        """What the figures were copied from, for the manifest."""
        head = self.headline
        machine = {"cpu": head.hardware.cpu, "cores": head.hardware.cores}
        judged = {"model": head.model_id, "precision": head.precision, "this_graph": self.own}
        rows = {"split": head.split, "rows": head.rows, "timestamp": head.timestamp}
        return judged | rows | {"report_sha256": self.digests[0], "hardware": machine}


def find(places: Iterable[Path], name: str, files: Mapping[str, str], checkpoint: manifest.Manifest) -> Measured | None:
    """The reports in `places` (folders `reports`) on the serving folder `name`, or else on the checkpoint.

    files: of the serving folder's `Manifest.hashes`, those that decide what it answers. A report on it counts where its
    provenance names the same; one on the checkpoint where it names the same operating point, served the same.
    """
    folders = [place for place in dict.fromkeys(path.resolve() for path in places) if place.is_dir()]
    for model, own in ((name, True), (checkpoint.name, False)):
        held = [path for folder in folders for path in sorted(folder.glob(f"{model}-*/report.json"))]
        read = [(found, manifest.file_hash(path)) for path in held if (found := _read(path)) is not None]
        fit = [
            (found, digest)
            for found, digest in read
            if found.model_id == model and (_of_graph(found, files) if own else _of_checkpoint(found, checkpoint))
        ]
        if fit:
            fit.sort(key=lambda pair: _rank(pair[0]))
            reports, digests = zip(*fit, strict=True)
            return Measured(reports, digests, own)
    return None


def on(folder: manifest.Manifest, places: Iterable[Path]) -> Measured | None:
    """The reports in `places`, whatever they are called there, on this very folder as it is served now."""
    held = [path for place in places for path in sorted(place.glob("*/report.json"))]
    read = [(found, manifest.file_hash(path)) for path in held if (found := _read(path)) is not None]
    fit = [pair for pair in read if pair[0].provenance.get("files") == folder.hashes and pair[0].split in FIRST]
    if not fit:
        return None
    newest = sorted(fit, key=lambda pair: pair[0].timestamp, reverse=True)
    reports, digests = zip(*sorted(newest, key=lambda pair: _rank(pair[0])), strict=True)
    return Measured(reports, digests, own=True)


def _read(path: Path) -> Report | None:
    try:
        return report.read(path)
    except UserError as error:  # an older run's; it only cannot be quoted
        print(f"not quoted: {error}", file=sys.stderr)
        return None


def _of_graph(found: Report, files: Mapping[str, str]) -> bool:
    known = found.provenance.get("files") or {}
    return bool(files) and all(known.get(name) == files.get(name) for name in {*files, KEY})


def _of_checkpoint(found: Report, checkpoint: manifest.Manifest) -> bool:
    point = checkpoint.fields.get("operating_point") or {}
    served = (found.provenance.get("files") or {}).get(KEY) == checkpoint.hashes.get(KEY)
    return served and found.threshold is not None and found.threshold.value == point.get("threshold")


def _rank(found: Report) -> tuple[int, str]:
    return (FIRST.index(found.split) if found.split in FIRST else len(FIRST), found.split)
