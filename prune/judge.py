"""What changed embeddings are worth on validation: F1 at a threshold and cosine to what they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.heads import LinearHead, OperatingPoint
from core.layer_subsets import Batch, batches_by_length
from core.model import SentenceEncoder
from core.rows import Rows
from core.schema import Heads
from core.splits import draw
from core.tokenizer import TextTokenizer
from eval import operating_point
from eval.metrics import auroc, confusion


@dataclass(frozen=True)
class Worth:
    """Of one changed encoder."""

    f1: float
    """At the threshold that validation chooses anew by the rule of `heads.threshold`."""
    recall: float
    """At the same."""
    f1_as_served: float
    """At the threshold that the checkpoint has."""
    auroc: float
    cosine: float
    """Mean cosine to the whole encoder's embeddings, 1 where nothing changed."""


@dataclass(frozen=True)
class Judge:
    """Validation texts in batches, their labels, and what the whole encoder makes of them, all in one order."""

    batches: Sequence[Batch]
    labels: NDArray[np.int64]  # (texts,)
    whole: NDArray[np.float32]  # (texts, dim)
    head: LinearHead
    """The binary one."""
    point: OperatingPoint
    settings: Heads
    groups: Sequence[str]
    """Of near-duplicates, (texts,)."""

    @classmethod
    def of(
        cls,
        encoder: SentenceEncoder,
        tokenizer: TextTokenizer,
        rows: Rows,
        head: LinearHead,
        point: OperatingPoint,
        settings: Heads,
    ) -> Judge:
        """rows: those of validation that are to be judged on."""
        import torch

        batches, order = batches_by_length(encoder, tokenizer.encode(rows.texts))
        with torch.inference_mode():
            parts = [encoder(*batch).sentence_embedding.float() for batch in batches]
        groups = [rows.groups[row] for row in order]
        return cls(batches, rows.labels[order], torch.cat(parts).numpy(), head, point, settings, groups)

    def __call__(self, embeddings: NDArray[np.float32]) -> Worth:
        """embeddings: (texts, dim), in the order of the batches."""
        logits = self.logits(embeddings)
        chosen = confusion(self.labels, logits >= self.threshold(logits))
        served = confusion(self.labels, logits >= self.point.logit)
        cosine = float((embeddings * self.whole).sum(1).mean())
        return Worth(chosen.f1, chosen.recall, served.f1, auroc(self.labels, logits), cosine)

    def logits(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        """Of an attack, (texts,)."""
        return self.head.logits(embeddings)[:, 0].astype(np.float64)

    def threshold(self, logits: NDArray[np.float64]) -> float:
        """The one that these texts choose."""
        return operating_point.threshold(logits, self.labels, self.settings)


def sample(rows: Rows, count: int, seed: int) -> Rows:
    """At most `count` rows, drawn with the seed, with the shares of labels and sub-families kept."""
    if count >= len(rows):
        return rows
    kinds = np.array([f"{label} {sub}" for label, sub in zip(rows.labels, rows.subfamilies, strict=True)])
    return rows.take(draw(kinds, count, (seed,)))
