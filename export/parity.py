"""Does the exported folder say what PyTorch says? Embeddings and decisions on the same real texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.decision import WARN
from core.errors import UserError
from core.pipeline import Pipeline
from core.schema import Parity

SHOWN = 60  # characters of a text that is named


@dataclass(frozen=True)
class ParityReport:
    """What a graph costs against PyTorch."""

    texts: int
    mean_cosine: float
    worst_cosine: float
    worst_text: str
    """Beginning of the text with the worst cosine, in quotes."""
    flips: int
    """Decisions at 0.5 that differ."""
    largest_score_change: float


def compare(reference: Pipeline, exported: Pipeline, texts: Sequence[str]) -> ParityReport:
    """Embeds and classifies the texts with both pipelines, as each is served."""
    left, right = reference.encoder.encode(texts), exported.encoder.encode(texts)  # (texts, dim), length 1 each
    cosine = (left * right).sum(1)
    before, after = (pipeline.score(rows).attack for pipeline, rows in ((reference, left), (exported, right)))
    flips = int(((before >= WARN) != (after >= WARN)).sum())
    worst = int(cosine.argmin())
    change = float(np.abs(before - after).max())
    return ParityReport(len(texts), float(cosine.mean()), float(cosine[worst]), _excerpt(texts[worst]), flips, change)


def check(report: ParityReport, limits: Parity, label: str) -> None:
    """Raises UserError when the graph differs more than the config allows."""
    if not report.worst_cosine >= limits.min_cosine:  # NaN fails too
        raise UserError(
            f"{label}: the text {report.worst_text} has cosine {report.worst_cosine:.4f} to PyTorch, below"
            f" export.parity.min_cosine {limits.min_cosine}; nothing was written"
        )
    rate = report.flips / report.texts
    if rate > limits.max_flip_rate:
        raise UserError(
            f"{label}: {report.flips} of {report.texts} decisions differ from PyTorch ({rate:.2%}), more than"
            f" export.parity.max_flip_rate {limits.max_flip_rate:.2%}; nothing was written"
        )


def _excerpt(text: str) -> str:
    """The beginning of a text, on one line and in quotes."""
    line = " ".join(text.split())
    return f"“{line}”" if len(line) <= SHOWN else f"“{line[: SHOWN - 1]}…”"
