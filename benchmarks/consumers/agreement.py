"""How often a consumer says of a text what our pipeline says: counts, intervals, and the texts where it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.decision import WARN, Predictions
from eval.metrics import wilson
from export.layouts.mapping import family_of

KNOWN_FAULT = "subfamily_idx"  # what raxe-ce at 8dd7d88 stumbles over for every benign text


@dataclass(frozen=True)
class Agreement:
    """On the same texts, in the same order."""

    texts: int
    attacks: int
    """By label."""
    same_on_attacks: int
    same_on_benign: int
    flagged_by_both: int
    same_family: int
    """Among those."""
    largest_difference: float
    """Of the attack probability, where the consumer tells it."""
    known_faults: int
    """Errors that are the consumer's own and change no verdict."""
    other_errors: tuple[str, ...]
    differing: tuple[int, ...]
    """Places of the texts with another verdict."""

    @property
    def same(self) -> int:
        return self.same_on_attacks + self.same_on_benign

    def sentences(self) -> list[str]:
        low, high = wilson(self.same, self.texts)
        benign = self.texts - self.attacks
        return [
            f"verdict as the pipeline's: {self.same} of {self.texts} texts (95 % interval {low:.4f} to {high:.4f}):"
            f" {self.same_on_attacks} of {self.attacks} attacks, {self.same_on_benign} of {benign} benign",
            f"family as the pipeline's: {self.same_family} of {self.flagged_by_both} that both flag",
            f"largest difference of the attack probability: {self.largest_difference:.2e}",
            f"errors: {self.known_faults} of its known fault for benign texts, {len(self.other_errors)} others"
            + "".join(f"; {error}" for error in self.other_errors[:3]),
        ]


def compare(said: Predictions, labels: Sequence[int], rows: Sequence[Mapping[str, Any]], renamed: bool) -> Agreement:
    """rows: the consumer's; renamed: whether it has its own names for our families."""
    ours = said.attack_probability >= WARN
    theirs = np.array([row["attack"] for row in rows], bool)
    same, attack, both = ours == theirs, np.asarray(labels) == 1, ours & theirs
    families = [family_of(name) if renamed else name for name in said.family]
    told = [(row["probability"], float(p)) for row, p in zip(rows, said.attack_probability, strict=True)]
    errors = [str(row["error"]) for row in rows if row.get("error")]
    return Agreement(
        texts=len(rows),
        attacks=int(attack.sum()),
        same_on_attacks=int((same & attack).sum()),
        same_on_benign=int((same & ~attack).sum()),
        flagged_by_both=int(both.sum()),
        same_family=sum(families[place] == rows[place]["family"] for place in map(int, np.flatnonzero(both))),
        largest_difference=max((abs(there - here) for there, here in told if there is not None), default=0.0),
        known_faults=sum(KNOWN_FAULT in error for error in errors),
        other_errors=tuple(error for error in errors if KNOWN_FAULT not in error),
        differing=tuple(map(int, np.flatnonzero(~same))),
    )
