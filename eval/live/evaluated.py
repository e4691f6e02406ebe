"""What the traffic is compared with: the rows of an evaluation and their scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eval.kept import Kept
from eval.live.distribution import Distribution, Reference
from eval.live.tally import Tally
from eval.schema import Report


@dataclass(frozen=True, eq=False)
class Evaluated:
    """The reference of a log."""

    report: Report
    scores: Reference
    lengths: Reference


def prepare(report: Report, kept: Kept) -> tuple[Tally, Evaluated]:
    """An empty tally that compares with these predictions, and what it compares with."""
    rows, probability = kept.rows, kept.predictions.attack_probability
    characters = np.array([len(text) for text in rows.texts])
    scores, lengths = Distribution(probability), Distribution(characters)
    references = Reference.of(scores, probability, rows.labels), Reference.of(lengths, characters, rows.labels)
    return Tally(scores, lengths), Evaluated(report, *references)
