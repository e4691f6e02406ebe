"""The one classifier pipeline: text, tokens, embedding, heads, decision; the same for every checkpoint and graph."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core import clusters, first_layer, manifest
from core.decision import WARN, Decision, Evidence, Predictions, decide, decision
from core.decode.view import decoded
from core.encoder import Encoder
from core.errors import UserError
from core.heads import HeadScores, HeadSet
from core.layer import Layer, without_encoded
from core.opening import open_encoder
from core.rows import Taxonomy
from core.scoring import scores_of_many, with_views
from core.serving import Serving
from core.triggers import TriggerMatcher

SCORED_TOGETHER = 1024  # texts
SHOWN_TRIGGERS = 5
STAGES = ("tokenise", "encode", "classify", "post-process")
DENSE = ("torch", "onnx")
"""Kinds whose embeddings have length 1, so that cosines to clusters mean something."""


def untimed(stage: str) -> None:
    """What a call tells of its stages when nobody times it: nothing."""


class Pipeline:
    """A checkpoint or serving folder, ready to classify."""

    def __init__(
        self,
        folder: Path,
        model_id: str,
        precision: str,
        encoder: Encoder,
        heads: HeadSet,
        taxonomy: Taxonomy,
        described: Mapping[str, Any] | None = None,
        serving: Serving | None = None,
        layer: Layer | None = None,
    ) -> None:
        """`serving` and `layer` replace what the manifest, `described`, asks for."""
        self.folder = folder
        self.model_id = model_id
        self.precision = precision
        self.encoder = encoder
        self.described = described or {}  # the fields of its manifest
        self.taxonomy = taxonomy
        self.serving = serving or Serving.of(self.described)
        self.layer = layer
        if layer is None and self.serving.first_layer:
            self.layer = first_layer.read(folder, self.serving.first_layer, taxonomy)
        self._heads = heads
        self._triggers = TriggerMatcher.open(folder)
        dense = self.described.get("kind") in DENSE
        self._clusters = clusters.read(folder, encoder.dimension) if dense else None

    def served(self, serving: Serving, layer: Layer | None = None) -> Pipeline:
        """The same model under other options; it shares the encoder."""
        fixed = (self.folder, self.model_id, self.precision, self.encoder, self._heads, self.taxonomy, self.described)
        return Pipeline(*fixed, serving, layer)

    def use_threads(self, threads: int) -> None:
        """How many threads one call may use."""
        self.encoder.use_threads(threads)
        if self.layer:
            self.layer.use_threads(threads)

    def score(self, embeddings: NDArray[np.float32]) -> HeadScores:
        """Probabilities of the heads for embeddings (texts, dim); UserError when they are not finite."""
        scores = self._heads(embeddings)
        if not np.isfinite(scores.attack).all():
            raise UserError(f"{self.folder}: the model gives NaN scores; it was damaged or trained badly")
        return scores

    def classify(self, texts: Sequence[str], batch_size: int = 32) -> Predictions:
        """Decisions alone, for many texts."""
        return decide(self.scores(texts, batch_size), self.taxonomy)

    def scores(self, texts: Sequence[str], batch_size: int = 32) -> HeadScores:
        """What is decided by: the model's scores, a layer's where it decides, decoded views where they are read."""
        model = partial(self.model_scores, batch_size=batch_size)
        return scores_of_many(texts, self.taxonomy, self.serving, self.layer, model, self.encoder.tokenise)

    def model_scores(self, texts: Sequence[str], batch_size: int = 32) -> HeadScores:
        """The model's own scores of the texts as they stand, at least one."""
        starts = range(0, len(texts), SCORED_TOGETHER)  # in parts: a lexical embedding has as many dimensions as terms
        parts = [self.score(self.encoder.encode(texts[at : at + SCORED_TOGETHER], batch_size)) for at in starts]
        names = ("attack", "family", "subfamily")
        return HeadScores(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def __call__(self, text: str, lap: Callable[[str], None] = untimed) -> Decision:
        """One text to its whole decision; `lap` is told each of `STAGES` when it is over, for whoever times them.

        Decoding and a first layer count as tokenising.
        """
        decode = self.serving.decode
        view = decoded(text) if decode else None
        verdict = without_encoded(self.layer.judge(text), view, decode) if self.layer else None
        if verdict is not None:
            tokens = []
        elif view is None:
            tokens = self.encoder.tokenise([text])
        else:
            raw, seen = self.encoder.tokenise([text, view.text])
            tokens = [raw] if raw == seen else [raw, seen]
        lap(STAGES[0])
        embeddings = [self.encoder.embed([ids]) for ids in tokens]  # each alone, as it was judged
        lap(STAGES[1])
        scores = raw_scores = self.score(embeddings[0]) if verdict is None else verdict
        if len(embeddings) > 1:
            scores = with_views(scores, self.score(embeddings[1]), [0], self.serving)
        lap(STAGES[2])
        near = self._clusters if embeddings and scores.attack[0] >= WARN else None
        evidence = Evidence(
            triggers=self._triggers(text)[:SHOWN_TRIGGERS],
            similar=near.similar(embeddings[0][0]) if near else (),
            view=view,
            decided_by_view=scores is not raw_scores and bool(scores.attack[0] != raw_scores.attack[0]),
            by_layer=verdict is not None,
        )
        decided = decision(scores, self.taxonomy, evidence)
        lap(STAGES[3])
        return decided


def open_pipeline(folder: Path) -> Pipeline:
    """Verifies every hash and opens a checkpoint (PyTorch; lexical or ONNX, without importing torch)."""
    verified = manifest.read(folder)
    taxonomy = Taxonomy.from_json(json.loads((folder / "taxonomy.json").read_text(encoding="utf-8")))
    heads = HeadSet(folder)
    encoder, precision = open_encoder(folder, verified)
    if not heads.dimension == encoder.dimension == verified.fields["embedding_dim"]:
        raise UserError(
            f"{folder}: the heads take {heads.dimension} dimensions, the encoder gives {encoder.dimension}, the"
            f" manifest says {verified.fields['embedding_dim']}; they belong to different models"
        )
    return Pipeline(folder, verified.name, precision, encoder, heads, taxonomy, verified.fields)
