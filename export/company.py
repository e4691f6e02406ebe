"""Does a text get another embedding in company or behind padding? What consumers do, beside each text alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.decision import WARN
from core.pipeline import Pipeline

BATCH = 64
WIDTH = 512  # tokens to which two of the three consumers pad


@dataclass(frozen=True)
class CompanyReport:
    """Differences from the same text alone, over both."""

    texts: int
    worst_cosine: float
    flips: int
    """Decisions at 0.5 that differ."""
    largest_score_change: float


def compare(pipeline: Pipeline, texts: Sequence[str]) -> CompanyReport:
    """Embeds the texts alone, each padded to 512 tokens, and in batches of 64 padded to the longest."""
    tokens = pipeline.encoder.tokenise(texts)
    alone = _embed(pipeline, tokens, 1)
    others = [_embed(pipeline, tokens, 1, WIDTH), _embed(pipeline, tokens, BATCH)]
    before = pipeline.score(alone).attack
    scores = [pipeline.score(rows).attack for rows in others]
    return CompanyReport(
        len(texts),
        float(min((alone * rows).sum(1).min() for rows in others)),
        sum(int(((before >= WARN) != (after >= WARN)).sum()) for after in scores),
        float(max(np.abs(before - after).max() for after in scores)),
    )


def _embed(
    pipeline: Pipeline, tokens: Sequence[Sequence[int]], batch: int, width: int | None = None
) -> NDArray[np.float32]:
    parts = [tokens[start : start + batch] for start in range(0, len(tokens), batch)]
    return np.concatenate([pipeline.encoder.embed(part, width) for part in parts])
