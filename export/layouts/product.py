"""What every layout is written from: a verified checkpoint, its graph in one precision, and what was found about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx

from core import manifest
from core.checkpoint import TAXONOMY
from core.heads import HEADS, head_path
from core.rows import Taxonomy
from core.schema.serving import Format
from core.smoke import Smoke
from eval.cards.measured import Measured


@dataclass(frozen=True)
class Product:
    """One model in one precision, to be laid out."""

    checkpoint: manifest.Manifest
    graph: onnx.ModelProto
    """`sentence_embedding`, `last_hidden_state`, in this order."""
    precision: Format
    name: str
    """Of the serving folder."""
    merged: bool = False
    """Also a graph from ids to all scores, where the layout has a place for it."""
    found: Mapping[str, Any] = field(default_factory=dict)
    """Parity with PyTorch and company, for the manifest."""
    smoke: Smoke | None = None
    """Which `export.verify` asks again."""
    measured: Measured | None = None
    latency_target: float | None = None
    """P95 that the experiment aims at, milliseconds."""

    @property
    def source(self) -> Path:
        return self.checkpoint.folder

    @cached_property
    def heads(self) -> dict[str, onnx.ModelProto]:
        """The stored heads: operating point and calibration built in, probabilities as maps."""
        return {name: onnx.load(head_path(self.source, name)) for name in HEADS}

    @cached_property
    def taxonomy(self) -> Taxonomy:
        return Taxonomy.from_json(json.loads((self.source / TAXONOMY).read_text(encoding="utf-8")))
