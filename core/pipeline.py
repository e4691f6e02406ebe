"""The one classifier pipeline: text, tokens, embedding, heads, decision; the same for every checkpoint and graph."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core import manifest
from core.encoder import Encoder, OnnxEncoder
from core.errors import UserError
from core.heads import HeadScores, HeadSet
from core.rows import Taxonomy
from core.triggers import Trigger, TriggerMatcher

WARN, BLOCK = 0.5, 0.8  # fixed by the consumers (serving contract); the heads are made to fit
SURE_FAMILY, SURE_SUBFAMILY = 0.6, 0.5
SHOWN_TRIGGERS = 5
SCORED_TOGETHER = 1024  # texts
STAGES = ("tokenise", "encode", "classify", "post-process")


@dataclass(frozen=True)
class Decision:
    """The prediction schema of the serving contract."""

    is_attack: int
    family: str
    sub_family: str
    scores: dict[str, float]
    """attack_probability, family_confidence, subfamily_confidence, each 0 to 1."""
    why_it_hit: list[str]
    recommended_action: list[str]
    """One of BLOCK (attack probability >= 0.8), WARN (>= 0.5), ALLOW."""
    trigger_matches: list[str]
    similar_attacks: list[dict[str, Any]]
    """{text, subfamily, similarity}; empty for a folder without attack clusters."""
    uncertain: bool

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Predictions:
    """Decisions of many texts in columns, benign decisions carrying the benign family and sub-family."""

    attack_probability: NDArray[np.float64]  # (texts,)
    family: tuple[str, ...]
    subfamily: tuple[str, ...]
    family_confidence: NDArray[np.float64]  # (texts,), of the likeliest family, whatever the decision
    subfamily_confidence: NDArray[np.float64]


def decide(scores: HeadScores, taxonomy: Taxonomy) -> Predictions:
    """Head scores to end-to-end decisions, by the consumers' fixed 0.5."""
    best = zip(scores.attack >= WARN, scores.family.argmax(1), scores.subfamily.argmax(1), strict=True)
    benign = (taxonomy.benign_family, taxonomy.benign_subfamily)
    said = [(taxonomy.families[f], taxonomy.subfamilies[s]) if attack else benign for attack, f, s in best]
    confidence = (np.asarray(part.max(1), np.float64) for part in (scores.family, scores.subfamily))
    return Predictions(scores.attack, tuple(family for family, _ in said), tuple(sub for _, sub in said), *confidence)


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
        self._taxonomy = taxonomy
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
        return decide(whole, self._taxonomy)

    def __call__(self, text: str, lap: Callable[[str], None] = untimed) -> Decision:
        """One text to its whole decision; `lap` is told each of `STAGES` when it is over, for whoever times them."""
        tokens = self.encoder.tokenise([text])
        lap(STAGES[0])
        embedding = self.encoder.embed(tokens)
        lap(STAGES[1])
        scores = self.score(embedding)
        lap(STAGES[2])
        decision = self._decision(text, scores)
        lap(STAGES[3])
        return decision

    def _decision(self, text: str, scores: HeadScores) -> Decision:
        attack = float(scores.attack[0])
        is_attack = attack >= WARN
        family, subfamily = int(scores.family[0].argmax()), int(scores.subfamily[0].argmax())
        sure_family, sure_subfamily = float(scores.family[0, family]), float(scores.subfamily[0, subfamily])
        action = "BLOCK" if attack >= BLOCK else "WARN" if is_attack else "ALLOW"
        names = self._taxonomy
        found = self._triggers(text)[:SHOWN_TRIGGERS]
        labels = (names.benign_family, names.benign_subfamily)
        if is_attack:
            labels = (names.families[family], names.subfamilies[subfamily])
        return Decision(
            is_attack=int(is_attack),
            family=labels[0],
            sub_family=labels[1],
            scores={
                "attack_probability": attack,
                "family_confidence": sure_family,
                "subfamily_confidence": sure_subfamily,
            },
            why_it_hit=_reasons(attack, labels, sure_family, sure_subfamily, found) if is_attack else [],
            recommended_action=[action],
            trigger_matches=[trigger.phrase for trigger in found],
            similar_attacks=[],
            uncertain=is_attack and (sure_family < SURE_FAMILY or sure_subfamily < SURE_SUBFAMILY),
        )


def _reasons(
    attack: float, labels: tuple[str, str], sure_family: float, sure_subfamily: float, found: list[Trigger]
) -> list[str]:
    """Why a text was flagged, for a person to read."""
    limit = BLOCK if attack >= BLOCK else WARN
    lines = [
        f"attack probability {attack:.2f} reaches {limit}",
        f"closest to {labels[0]} ({sure_family:.2f}) / {labels[1]} ({sure_subfamily:.2f})",
    ]
    for trigger in found:
        total = trigger.attacks + trigger.benign
        lines.append(
            f'"{trigger.phrase}" stood in {trigger.attacks} attacks among {total} training texts ({trigger.family})'
        )
    return lines


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
        case other:
            raise UserError(f"{folder}: unknown kind {other!r} in {manifest.NAME}; expected torch, onnx or lexical")
    if not heads.dimension == encoder.dimension == verified.fields["embedding_dim"]:
        raise UserError(
            f"{folder}: the heads take {heads.dimension} dimensions, the encoder gives {encoder.dimension}, the"
            f" manifest says {verified.fields['embedding_dim']}; they belong to different models"
        )
    return Pipeline(folder, verified.name, precision, encoder, heads, taxonomy, verified.fields)
