"""Keyword triggers: word sequences that in training stood almost only in attacks; they explain, they do not decide."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError
from core.rows import Rows

FILE = "keyword_triggers.json"
LONGEST = 3  # words in a trigger
READ_CHARACTERS = 4000  # of a text; what the model reads is shorter still
WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")


@dataclass(frozen=True)
class Trigger:
    """One learned word sequence."""

    phrase: str
    family: str
    """The family most of its attacks belong to."""
    attacks: int
    """Training attacks that hold it."""
    benign: int
    """Benign training texts that hold it."""

    @property
    def precision(self) -> float:
        return self.attacks / (self.attacks + self.benign)


def phrases(text: str) -> Iterator[str]:
    """Every sequence of one to three words of the text's beginning, lower case."""
    words = WORD.findall(text[:READ_CHARACTERS].lower())
    for size in range(1, LONGEST + 1):
        for start in range(len(words) - size + 1):
            yield " ".join(words[start : start + size])


def learn(rows: Rows, minimum_attacks: int = 10, minimum_precision: float = 0.95, limit: int = 300) -> list[Trigger]:
    """The most frequent sequences of the training rows that are precise enough."""
    from sklearn.feature_extraction.text import CountVectorizer  # only training needs scikit-learn

    minimum = min(minimum_attacks, len(rows))
    counter = CountVectorizer(analyzer=lambda text: set(phrases(text)), min_df=minimum, dtype=np.int32)
    try:
        present = counter.fit_transform(rows.texts)  # (texts, phrases), 0 or 1
    except ValueError:  # no phrase is frequent enough
        return []
    attack = rows.labels == 1
    attacks = np.asarray(present[attack].sum(0)).ravel()
    benign = np.asarray(present[~attack].sum(0)).ravel()
    good = (attacks >= minimum) & (attacks >= minimum_precision * (attacks + benign))
    names = counter.get_feature_names_out()
    families = np.array(rows.families)

    def commonest(column: int) -> str:
        holders = np.asarray(present[:, [column]].todense()).ravel().astype(bool) & attack
        values, counts = np.unique(families[holders], return_counts=True)
        return str(values[counts.argmax()])

    order: NDArray[np.intp] = np.flatnonzero(good)
    order = order[np.lexsort((names[order], -attacks[order]))][:limit]
    return [Trigger(str(names[i]), commonest(i), int(attacks[i]), int(benign[i])) for i in order]


def save(folder: Path, triggers: list[Trigger]) -> None:
    """Writes keyword_triggers.json."""
    rows = [{**vars(trigger), "precision": round(trigger.precision, 4)} for trigger in triggers]
    (folder / FILE).write_text(json.dumps({"keywords": rows}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


class TriggerMatcher:
    """Finds a folder's triggers in a text."""

    def __init__(self, triggers: list[Trigger]) -> None:
        self.triggers = tuple(triggers)
        self._by_phrase = {trigger.phrase: trigger for trigger in triggers}

    @classmethod
    def open(cls, folder: Path) -> TriggerMatcher:
        """Reads keyword_triggers.json; raises UserError when it is broken."""
        path = folder / FILE
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))["keywords"]
            names = ("phrase", "family", "attacks", "benign")
            return cls([Trigger(*(row[name] for name in names)) for row in rows])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} cannot be read as keyword triggers: {error}") from error

    def __call__(self, text: str) -> list[Trigger]:
        """The triggers in the text, longest first; one inside a longer match is left out."""
        if not self._by_phrase:
            return []
        found = {phrase for phrase in phrases(text) if phrase in self._by_phrase}
        ordered = sorted(found, key=lambda phrase: (-len(phrase.split()), phrase))
        kept: list[str] = []
        for phrase in ordered:
            if not any(f" {phrase} " in f" {longer} " for longer in kept):
                kept.append(phrase)
        return [self._by_phrase[phrase] for phrase in kept]
