"""Which model a measurement asked."""

from __future__ import annotations

from core.manifest import Manifest
from core.pipeline import Pipeline
from eval.schema.base import Model


def described(pipeline: Pipeline) -> Model:
    """The open model by name, folder, bytes and precision."""
    digest = Manifest(pipeline.folder, pipeline.described).digest
    return Model(name=pipeline.model_id, folder=str(pipeline.folder), digest=digest, precision=pipeline.precision)
