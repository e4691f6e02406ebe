"""What is wrong with rows: one row's fault, and the account of all faults of a corpus."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from core.errors import UserError

EXAMPLES = 5


class Fault(NamedTuple):
    """Why a row cannot be used: a kind to count by, and what is wrong with this one."""

    kind: str
    what: str


class Example(NamedTuple):
    """One fault: the split it was found in, its kind, and a sentence with its location."""

    split: str
    kind: str
    sentence: str


@dataclass
class DataFaults:
    """How many rows of each split were at fault, by kind, and the first few of each kind by name."""

    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)

    def add(self, split: str, kind: str, sentence: str, rows: int = 1) -> None:
        """Count `rows` rows and keep the sentence if it is among the first of its kind and split."""
        kinds = self.counts.setdefault(split, {})
        kinds[kind] = kinds.get(kind, 0) + rows
        if sum(example[:2] == (split, kind) for example in self.examples) < EXAMPLES:
            self.examples.append(Example(split, kind, sentence))

    def refuse(self, kinds: Iterable[str] | None, headline: str, remedy: str) -> None:
        """Raise a UserError with counts and the first sentences if rows of these kinds (None: any) were found."""
        wanted = {kind for found in self.counts.values() for kind in found} if kinds is None else set(kinds)
        totals = [
            f"{split}: {count} {kind}"
            for split, found in self.counts.items()
            for kind, count in found.items()
            if kind in wanted
        ]
        if totals:
            named = [f"  {example.sentence}" for example in self.examples if example.kind in wanted][:EXAMPLES]
            raise UserError("\n".join([f"{headline} ({'; '.join(totals)}), first:", *named, remedy]))
