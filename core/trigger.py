"""One trigger: a word, phrase or pattern that stood almost only in attacks, with its counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from core.phrases import GAP


@dataclass(frozen=True)
class Trigger:
    """One learned word, phrase or pattern (`first … second`: one to three words between)."""

    phrase: str
    family: str
    """The family most of its attacks belong to."""
    attacks: int
    """Training attacks that hold it."""
    benign: int
    """Benign training texts that hold it."""
    recall: float = 0.0
    """Share of all training attacks that hold it."""
    validation_attacks: int = 0
    validation_benign: int = 0

    @property
    def kind(self) -> Literal["keyword", "phrase", "pattern"]:
        if GAP in self.phrase:
            return "pattern"
        return "phrase" if " " in self.phrase else "keyword"

    @property
    def precision(self) -> float:
        return self.attacks / (self.attacks + self.benign)
