"""The one classifier pipeline: text, tokens, embedding, heads, decision; the same for every checkpoint and graph."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core import manifest
from core.decision import Decision, Predictions, decide, decision
from core.encoder import Encoder, OnnxEncoder
from core.errors import UserError
from core.heads import HeadScores, HeadSet
from core.rows import Taxonomy
from core.triggers import TriggerMatcher

SCORED_TOGETHER = 1024  # texts
STAGES = ("tokenise", "encode", "classify", "post-process")


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
    ) -> None:
        self.folder = folder
        self.model_id = model_id
        self.precision = precision
        self.encoder = encoder
        self.described = described or {}  # the fields of its manifest
        self._heads = heads
        self.taxonomy = taxonomy
        self._triggers = TriggerMatcher.open(folder)

    def use_threads(self, threads: int) -> None:
        """How many threads one call may use."""
        self.encoder.use_threads(threads)

    def score(self, embeddings: NDArray[np.float32]) -> HeadScores:
        """Probabilities of the heads for embeddings (texts, dim); UserError when they are not finite."""
        scores = self._heads(embeddings)
        if not np.isfinite(scores.attack).all():
            raise UserError(f"{self.folder}: the model gives NaN scores; it was damaged or trained badly")
        return scores

    def classify(self, texts: Sequence[str], batch_size: int = 32) -> Predictions:
        """Scores and decisions alone, for many texts."""
        if not texts:
            return Predictions(np.zeros(0), (), (), np.zeros(0), np.zeros(0))
        parts = [  # in parts: a lexical embedding has as many dimensions as terms
            self.score(self.encoder.encode(texts[start : start + SCORED_TOGETHER], batch_size))
            for start in range(0, len(texts), SCORED_TOGETHER)
        ]
        names = ("attack", "family", "subfamily")
        whole = HeadScores(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
        return decide(whole, self.taxonomy)

    def __call__(self, text: str, lap: Callable[[str], None] = untimed) -> Decision:
        """One text to its whole decision; `lap` is told each of `STAGES` when it is over, for whoever times them."""
        tokens = self.encoder.tokenise([text])
        lap(STAGES[0])
        embedding = self.encoder.embed(tokens)
        lap(STAGES[1])
        scores = self.score(embedding)
        lap(STAGES[2])
        decided = decision(scores, self.taxonomy, self._triggers(text))
        lap(STAGES[3])
        return decided


def open_pipeline(folder: Path) -> Pipeline:
    """Verifies every hash and opens a checkpoint (PyTorch; lexical or ONNX, without importing torch)."""
    verified = manifest.read(folder)
    taxonomy = Taxonomy.from_json(json.loads((folder / "taxonomy.json").read_text(encoding="utf-8")))
    heads = HeadSet(folder)
    encoder: Encoder
    match verified.kind:
        case "onnx":
            encoder = OnnxEncoder(folder, verified.max_length)
            precision = f"onnx {verified.fields.get('precision', '')}".strip()
        case "torch":
            # Local on purpose: serving folders open without torch.
            from core.pretrained import load_encoder
            from core.tokenizer import TextTokenizer
            from core.torch_encoder import TorchEncoder, in_running_type

            model = load_encoder(folder)
            stored = model.dtype
            model = in_running_type(model)
            precision = " run as ".join(dict.fromkeys(str(dtype)[6:] for dtype in (stored, model.dtype)))
            encoder = TorchEncoder(model, TextTokenizer.open(folder, verified.max_length))
        case "lexical":
            from core.lexical import LexicalEncoder  # local: the others do without

            encoder = LexicalEncoder.open(folder, verified.max_length)
            precision = "TF-IDF float32"
        case "ensemble":
            from core.ensemble import EnsembleEncoder  # local: it opens pipelines itself

            encoder = EnsembleEncoder.open(folder)
            precision = " + ".join(member.precision for member in encoder.members)
        case other:
            raise UserError(
                f"{folder}: unknown kind {other!r} in {manifest.NAME}; expected torch, onnx, lexical or ensemble"
            )
    if not heads.dimension == encoder.dimension == verified.fields["embedding_dim"]:
        raise UserError(
            f"{folder}: the heads take {heads.dimension} dimensions, the encoder gives {encoder.dimension}, the"
            f" manifest says {verified.fields['embedding_dim']}; they belong to different models"
        )
    return Pipeline(folder, verified.name, precision, encoder, heads, taxonomy, verified.fields)
