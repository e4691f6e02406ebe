"""Keyword triggers: what in training stood almost only in attacks, found in a text to explain a decision."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.phrase_search import anywhere
from core.phrases import GAP, WIDEST, line
from core.trigger import Trigger
from core.trigger_learning import learn

__all__ = ["FILE", "Trigger", "TriggerMatcher", "learn", "save"]

FILE = "keyword_triggers.json"
MOST = 64  # matches of one text that are looked at: a hostile one may hold nothing else


def save(folder: Path, triggers: Sequence[Trigger]) -> None:
    """Writes keyword_triggers.json as raxe-ce reads it: by name, with the `pattern` that it looks for in lower case.

    It knows no gaps: what stands for one is an `expression` here, which it passes over.
    """
    stored = {}
    for trigger in triggers:
        gap = trigger.kind == "pattern"
        stored[trigger.phrase] = {
            "expression" if gap else "pattern": _expression(trigger.phrase) if gap else trigger.phrase,
            "kind": trigger.kind,
            "family": trigger.family,
            "attacks": trigger.attacks,
            "benign": trigger.benign,
            "precision": round(trigger.precision, 4),
            "recall": trigger.recall,
            "validation_attacks": trigger.validation_attacks,
            "validation_benign": trigger.validation_benign,
        }
    (folder / FILE).write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _expression(phrase: str) -> str:
    """A pattern as a regular expression on lower case."""
    first, second = phrase.split(f" {GAP} ")
    return rf"\b{first}\b(?:\W+[\w']+){{1,{WIDEST}}}\W+{second}\b"


Match = tuple[tuple[int, int], Sequence[int], Trigger]
"""The longer the earlier, then by place; at which places of the text its words stand."""


@dataclass
class _Beginning:
    """The triggers that begin with one word."""

    alone: Trigger | None = None
    runs: dict[str, list[tuple[list[str], Trigger]]] = field(default_factory=dict)
    """By the second word: all words but the first."""
    gaps: dict[str, Trigger] = field(default_factory=dict)
    """By the word behind the gap."""


class TriggerMatcher:
    """Finds a folder's triggers in a text."""

    def __init__(self, triggers: Sequence[Trigger]) -> None:
        self.triggers = tuple(triggers)
        self._by_first: dict[str, _Beginning] = {}
        self._reach = WIDEST + 2  # words that tell which triggers stand at a place
        searched = []
        for trigger in triggers:
            first, *rest = trigger.phrase.replace(f" {GAP}", "").split()
            beginning = self._by_first.setdefault(first, _Beginning())
            if not rest:
                beginning.alone = trigger
            elif trigger.kind == "pattern":
                beginning.gaps[rest[0]] = trigger
                rest = [GAP, rest[0]]
            else:
                beginning.runs.setdefault(rest[0], []).append((rest, trigger))
            self._reach = max(self._reach, 1 + len(rest))
            searched.append(" ".join((first, *rest)))
        self._somewhere = anywhere(searched)

    @classmethod
    def open(cls, folder: Path) -> TriggerMatcher:
        """Reads keyword_triggers.json; raises UserError when it is broken."""
        path = folder / FILE
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(stored.get("keywords"), list):  # as checkpoints had it until issue 5
                names = ("phrase", "family", "attacks", "benign")
                return cls([Trigger(*(row[name] for name in names)) for row in stored["keywords"]])
            return cls([_read(phrase, fields) for phrase, fields in stored.items()])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} cannot be read as keyword triggers: {error}") from error

    def __call__(self, text: str) -> list[Trigger]:
        """The triggers in the text, longest first; one whose words all lie in longer ones is left out."""
        read, place, last = line(text), 0, 0
        matches: list[Match] = []
        for found in self._somewhere.finditer(read):
            place += len(read[last : found.start()].split())
            last = found.start()
            following = read[last:].split(maxsplit=self._reach)[: self._reach]
            _match(place, following, self._by_first[following[0]], matches)
            if len(matches) >= MOST:
                break
        return _without_inner(matches) if matches else []


def _match(place: int, found: Sequence[str], beginning: _Beginning, into: list[Match]) -> None:
    """Adds the triggers whose first word stands at the place; found: the words from there on."""
    if beginning.alone is not None:
        into.append(((-1, place), (place,), beginning.alone))
    if beginning.runs and len(found) > 1:
        for rest, trigger in beginning.runs.get(found[1], ()):
            if found[1 : 1 + len(rest)] == rest:
                into.append(((-1 - len(rest), place), range(place, place + 1 + len(rest)), trigger))
    if beginning.gaps:
        for stop in range(2, min(WIDEST + 2, len(found))):
            behind = beginning.gaps.get(found[stop])
            if behind is not None:
                into.append(((-2, place), (place, place + stop), behind))


def _read(phrase: str, fields: Mapping[str, Any]) -> Trigger:
    names = ("family", "attacks", "benign", "recall", "validation_attacks", "validation_benign")
    return Trigger(phrase, *(fields[name] for name in names))


def _without_inner(matches: Sequence[Match]) -> list[Trigger]:
    """Each trigger once, the longest first, without those whose words longer ones hold."""
    taken: set[int] = set()
    kept: dict[str, Trigger] = {}
    for _, places, trigger in sorted(matches, key=itemgetter(0)):
        if trigger.phrase not in kept and not taken.issuperset(places):
            kept[trigger.phrase] = trigger
        taken.update(places)
    return list(kept.values())
