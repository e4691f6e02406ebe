"""From head scores to what consumers read: the prediction schema of the serving contract, by its fixed rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.explanations import BLOCK, WARN, Evidence, reasons, recommended
from core.heads import HeadScores
from core.rows import Taxonomy

__all__ = ["BLOCK", "WARN", "Decision", "Evidence", "Predictions", "decide", "decision"]

SURE_FAMILY, SURE_SUBFAMILY = 0.6, 0.5


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
    """{text, subfamily, similarity} of the nearest known attacks; empty for a benign decision, for one of the first
    layer, and for a folder without attack clusters."""
    uncertain: bool


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


def decision(scores: HeadScores, names: Taxonomy, evidence: Evidence) -> Decision:
    """One text's whole decision, from its scores (row 0 of each head) and what else is known of it."""
    attack = float(scores.attack[0])
    is_attack = attack >= WARN
    family, subfamily = int(scores.family[0].argmax()), int(scores.subfamily[0].argmax())
    sure_family, sure_subfamily = float(scores.family[0, family]), float(scores.subfamily[0, subfamily])
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
        why_it_hit=reasons(attack, labels, sure_family, sure_subfamily, evidence) if is_attack else [],
        recommended_action=[recommended(attack)],
        trigger_matches=[trigger.phrase for trigger in evidence.triggers],
        similar_attacks=[dict(similar) for similar in evidence.similar] if is_attack else [],
        uncertain=is_attack and (sure_family < SURE_FAMILY or sure_subfamily < SURE_SUBFAMILY),
    )
