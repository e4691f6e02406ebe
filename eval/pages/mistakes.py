"""The worst mistakes: the decisions that were wrong with the most confidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eval.figures import DECISION
from eval.kept import Kept
from eval.pages.words import cut

SHOWN, CHARACTERS, MOST = 20, 300, 8000


@dataclass(frozen=True)
class Mistake:
    """One wrong decision."""

    number: int
    """Row in the kept predictions, from 1."""
    score: float
    family: str
    subfamily: str
    said: str
    source: str
    start: str
    whole: str
    """The text, at most 8,000 characters of it; empty where `start` is all of it."""
    characters: int


@dataclass(frozen=True)
class Mistakes:
    """The most confident ones of both kinds, and how many there are."""

    flagged: list[Mistake]
    flagged_of: int
    missed: list[Mistake]
    missed_of: int


def mistakes(kept: Kept) -> Mistakes:
    """False positives with the highest probability, misses with the lowest; of equals the earlier row."""
    probability, attack = kept.predictions.attack_probability, kept.rows.labels == 1
    flagged, missed = ~attack & (probability >= DECISION), attack & (probability < DECISION)
    highest, lowest = np.argsort(-probability, kind="stable"), np.argsort(probability, kind="stable")
    return Mistakes(
        [_mistake(kept, int(row)) for row in highest[flagged[highest]][:SHOWN]],
        int(flagged.sum()),
        [_mistake(kept, int(row)) for row in lowest[missed[lowest]][:SHOWN]],
        int(missed.sum()),
    )


def _mistake(kept: Kept, row: int) -> Mistake:
    rows, text = kept.rows, kept.rows.texts[row]
    start, shortened = cut(text, CHARACTERS)
    return Mistake(
        number=row + 1,
        score=float(kept.predictions.attack_probability[row]),
        family=rows.families[row],
        subfamily=rows.subfamilies[row],
        said=kept.predictions.family[row],
        source=rows.sources[row],
        start=start,
        whole=cut(text, MOST)[0] if shortened else "",
        characters=len(text),
    )
