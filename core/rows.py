"""Labelled texts in columns, their fingerprint, and the taxonomy that turns their labels into integer targets."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from core.errors import UserError

IGNORED = -100  # torch's cross-entropy skips this target


@dataclass(frozen=True, eq=False)
class Rows:
    """n labelled texts; column i of every field belongs to row i."""

    texts: tuple[str, ...]
    labels: np.ndarray  # int64 (n,): 1 attack, 0 benign
    families: tuple[str, ...]
    subfamilies: tuple[str, ...]
    groups: tuple[str, ...]
    sources: tuple[str, ...]

    def __post_init__(self) -> None:
        columns = (self.texts, self.families, self.subfamilies, self.groups, self.sources)
        if self.labels.shape != (len(self.texts),) or len({len(column) for column in columns}) != 1:
            raise ValueError(f"columns of unlike length: labels {self.labels.shape}, {[len(c) for c in columns]}")

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: Sequence[int] | np.ndarray) -> Rows:
        """The rows at `indices` (integers or a boolean mask), in that order."""
        chosen = np.arange(len(self))[np.asarray(indices) if len(indices) else np.zeros(0, np.int64)]
        columns = (self.texts, self.families, self.subfamilies, self.groups, self.sources)
        texts, families, subfamilies, groups, sources = (tuple(column[i] for i in chosen) for column in columns)
        return Rows(texts, self.labels[chosen], families, subfamilies, groups, sources)


def well_formed(text: str) -> str:
    """The text with lone surrogates replaced by U+FFFD; tokenizers and UTF-8 refuse them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def normalise(text: str) -> str:
    """NFKC, casefold, runs of whitespace as one space: equal results are the same text."""
    # Casefolding can leave a string that is no longer NFKC, hence the second pass (Unicode's NFKC_Casefold).
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())


def text_hash(text: str) -> str:
    """SHA-256, in hexadecimal, of the raw text in UTF-8."""
    return hashlib.sha256(well_formed(text).encode()).hexdigest()


def fingerprint(rows: Rows) -> str:
    """SHA-256 over text, label, family, sub-family and group of all rows, whatever their order."""
    columns = zip(rows.texts, rows.labels.tolist(), rows.families, rows.subfamilies, rows.groups, strict=True)
    lines = sorted(json.dumps([text_hash(text), *rest]) for text, *rest in columns)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@dataclass(frozen=True)
class Taxonomy:
    """The attack families and sub-families of the training rows, in the order of the heads' outputs."""

    families: tuple[str, ...]
    subfamilies: tuple[str, ...]
    benign_family: str
    benign_subfamily: str
    parent: Mapping[str, str]  # attack sub-family -> its most frequent family

    def same_classes(self, other: Taxonomy) -> bool:
        """Whether heads for the one answer for the other."""
        return (self.families, self.subfamilies) == (other.families, other.subfamilies)

    @classmethod
    def of(cls, rows: Rows) -> Taxonomy:
        """The taxonomy of training rows; UserError unless there are attacks and exactly one kind of benign rows."""
        pairs = Counter(zip(rows.labels.tolist(), rows.families, rows.subfamilies, strict=True))
        attack = {(family, sub): count for (label, family, sub), count in pairs.items() if label == 1}
        benign = [(family, sub) for label, family, sub in pairs if label == 0]
        for found, label in ((attack, "attack (label 1)"), (benign, "benign (label 0)")):
            if not found:
                raise UserError(f"the {len(rows)} training rows hold no {label} rows: add some, or mend data.label_map")
        families, subfamilies = {family for family, _ in attack}, {sub for _, sub in attack}
        benign_family = _the_only({family for family, _ in benign}, families, "family")
        benign_subfamily = _the_only({sub for _, sub in benign}, subfamilies, "sub-family")
        # The most frequent family wins, on equal counts the first in the alphabet.
        ascending = sorted(attack.items(), key=lambda item: (-item[1], item[0]), reverse=True)
        parent = {sub: family for (family, sub), _ in ascending}
        return cls(
            tuple(sorted(families)),
            tuple(sorted(subfamilies)),
            benign_family,
            benign_subfamily,
            dict(sorted(parent.items())),
        )

    def targets(self, rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Integer targets (binary, family, sub-family), each int64 (n,); benign rows have -100 in the last two."""
        attacks = rows.labels == 1
        family = _positions(self.families, rows.families, attacks, "family")
        subfamily = _positions(self.subfamilies, rows.subfamilies, attacks, "sub-family")
        return rows.labels.copy(), family, subfamily

    def to_json(self) -> dict[str, object]:
        """The taxonomy as JSON values."""
        return {**asdict(self), "families": list(self.families), "subfamilies": list(self.subfamilies)}

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Taxonomy:
        """The inverse of `to_json`."""
        match value:
            case {
                "families": list(families),
                "subfamilies": list(subfamilies),
                "benign_family": str(family),
                "benign_subfamily": str(subfamily),
                "parent": dict(parent),
            }:
                return cls(tuple(families), tuple(subfamilies), family, subfamily, dict(parent))
        raise UserError(f"not a taxonomy: it has {sorted(value)}; write the checkpoint again")


def _the_only(benign: set[str], attack: set[str], what: str) -> str:
    if len(benign) > 1:
        raise UserError(f"benign training rows carry more than one {what}, {sorted(benign)}: give all the same")
    if both := benign & attack:
        raise UserError(f"the {what} {both.pop()!r} stands on attack and on benign training rows: mend the labels")
    return next(iter(benign))


def _positions(known: Sequence[str], names: Iterable[str], attacks: np.ndarray, what: str) -> np.ndarray:
    index = {name: position for position, name in enumerate(known)}
    found = [index.get(name) if attack else IGNORED for name, attack in zip(names, attacks, strict=True)]
    if None in found:
        unknown = Counter(name for name, position in zip(names, found, strict=True) if position is None)
        listed = ", ".join(f"{name!r} ({count} rows)" for name, count in unknown.most_common(5))
        raise UserError(
            f"attack rows with a {what} that the training rows lack: {listed}; the model knows {', '.join(known)}."
            f" Rename or remove those rows, or train again with rows of that {what}"
        )
    return np.array(found, dtype=np.int64)
