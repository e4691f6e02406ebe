"""A small model as first layer: it decides what it is sure of and leaves the rest to a larger one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError
from core.heads import HeadScores
from core.pipeline import Pipeline
from core.sureness import Setting

SMALLEST = 1e-9  # a probability of 0 or 1 has no finite log-odds


@dataclass(frozen=True)
class ModelLayer:
    """A pipeline at one setting; its own first layer and decoded views are left out.

    It calls no text benign that goes on behind what it reads: the model may read further.
    """

    pipeline: Pipeline
    setting: Setting

    def judge(self, text: str) -> HeadScores | None:
        """Scores of one text, or None where the model is not sure."""
        encoder = self.pipeline.encoder
        (ids,) = encoder.tokenise([text])
        return self.sure(self.pipeline.score(encoder.embed([ids])), [encoder.whole(text, ids)])[0]

    def judge_all(self, texts: Sequence[str]) -> list[HeadScores | None]:
        return self.sure(self.pipeline.model_scores(texts), read_whole(self.pipeline, texts)) if texts else []

    def use_threads(self, threads: int) -> None:
        self.pipeline.use_threads(threads)

    def sure(self, scores: HeadScores, whole: Sequence[bool]) -> list[HeadScores | None]:
        """The rows of the scores in which the model is sure, each by itself; whole: whether it read the text so."""
        rows = (slice(place, place + 1) for place in range(len(scores.attack)))
        return [
            HeadScores(scores.attack[row], scores.family[row], scores.subfamily[row])
            if self.setting.decides(odds, read)
            else None
            for row, odds, read in zip(rows, log_odds(scores.attack).tolist(), whole, strict=True)
        ]


def read_whole(pipeline: Pipeline, texts: Sequence[str]) -> list[bool]:
    """Whether the model reads each text to its end."""
    encoder = pipeline.encoder
    return [encoder.whole(text, ids) for text, ids in zip(texts, encoder.tokenise(texts), strict=True)]


def log_odds(attack: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of probabilities (texts,)."""
    inside = np.clip(attack, SMALLEST, 1 - SMALLEST)
    return np.log(inside / (1 - inside))


def refuse_unlike(first: Pipeline, model: Pipeline) -> None:
    """UserError where two models do not speak of the same families and sub-families in the same order."""
    if first.taxonomy != model.taxonomy:
        raise UserError(
            f"{first.folder} knows other families or sub-families than {model.folder}: train both on the same rows"
        )
