"""The first layer: learned weights of words, pairs and patterns that decide what they are sure of, both ways."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import UserError
from core.heads import HeadScores
from core.phrases import GAP, READ_CHARACTERS, WIDEST, words
from core.rows import Taxonomy
from core.sureness import Setting

FILE = "first_layer.json"


@dataclass(frozen=True)
class FirstLayer:
    """Log-odds of attack as a sum over the words, neighbouring pairs and patterns that a text holds, each counted once.

    A score card: a logistic regression on their presence, each weight of which can be read and changed.
    """

    bias: float
    weights: Mapping[str, float]
    """Of words, pairs (`first second`) and patterns (`first … second`, one to three words between)."""
    kinds: Mapping[str, tuple[str, str]]
    """Family and sub-family of most of the attacks that hold it, for what speaks for an attack."""
    settings: Mapping[str, Setting]
    """By name, the most careful first; chosen out of fold on the training rows."""

    @cached_property
    def _after(self) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
        """By a word what it begins: pairs by their second word, and patterns by the word behind the gap."""
        found: dict[str, tuple[dict[str, str], dict[str, str]]] = {}
        for term in self.weights:
            first, *rest = term.split(" ")
            if rest:
                pairs, patterns = found.setdefault(first, ({}, {}))
                (patterns if rest[0] == GAP else pairs)[rest[-1]] = term
        return found

    def terms(self, text: str) -> set[str]:
        """The known words, pairs and patterns of a text's beginning."""
        found, after = words(text), self._after
        known = self.weights.keys() & set(found)
        for place, (word, following) in enumerate(pairwise((*found, ""))):
            if word not in after:
                continue
            pairs, patterns = after[word]
            if following in pairs:
                known.add(pairs[following])
            if patterns:
                for behind in found[place + 2 : place + 2 + WIDEST]:
                    if behind in patterns:
                        known.add(patterns[behind])
        return known

    def log_odds(self, terms: Iterable[str]) -> float:
        """Of attack, for a text of these known terms; the same whatever the order in which Python keeps them."""
        return math.fsum((self.bias, *map(self.weights.__getitem__, terms)))


@dataclass(frozen=True)
class SureLayer:
    """A first layer at one setting, for one taxonomy."""

    first: FirstLayer
    setting: Setting
    taxonomy: Taxonomy

    def judge(self, text: str) -> HeadScores | None:
        """Scores of one text, or None where the layer is not sure; it calls none benign that it has not read whole."""
        terms = self.first.terms(text)
        log_odds = self.first.log_odds(terms)
        if not self.setting.decides(log_odds, whole=len(text) <= READ_CHARACTERS):
            return None
        attack = np.array([1.0 / (1.0 + math.exp(-max(min(log_odds, 500.0), -500.0)))])
        return HeadScores(attack, *self._kinds(terms))

    def judge_all(self, texts: Sequence[str]) -> list[HeadScores | None]:
        return [self.judge(text) for text in texts]

    def use_threads(self, threads: int) -> None:
        """There is nothing to divide."""

    def _kinds(self, terms: set[str]) -> tuple[np.ndarray, np.ndarray]:
        """Each kind's share of what speaks for an attack, (1, families) and (1, sub-families)."""
        families, subfamilies = (dict.fromkeys(of, 1e-6) for of in (self.taxonomy.families, self.taxonomy.subfamilies))
        for term in sorted(terms & self.first.kinds.keys()):  # nothing known: all alike
            family, subfamily = self.first.kinds[term]
            families[family] += self.first.weights[term]
            subfamilies[subfamily] += self.first.weights[term]
        return _normalised(families), _normalised(subfamilies)


def _normalised(shares: Mapping[str, float]) -> np.ndarray:
    """(1, kinds), of sum 1."""
    return np.array([list(shares.values())]) / sum(shares.values())


def save(folder: Path, layer: FirstLayer) -> None:
    """Writes first_layer.json: a line a term, with its weight and what it speaks for."""
    rules = {term: [weight, *layer.kinds.get(term, ())] for term, weight in layer.weights.items()}
    settings = {name: asdict(setting) for name, setting in layer.settings.items()}
    lines = ",\n".join(f"{json.dumps(term, ensure_ascii=False)}:{json.dumps(rule)}" for term, rule in rules.items())
    head = json.dumps({"bias": layer.bias, "settings": settings}, indent=1)
    (folder / FILE).write_text(f'{head[:-2]},\n "rules": {{\n{lines}\n}}}}\n', encoding="utf-8")


def read(folder: Path, setting: str, taxonomy: Taxonomy) -> SureLayer:
    """The first layer of a folder. UserError: missing, broken, of another taxonomy, or without that setting."""
    path = folder / FILE
    if not path.is_file():
        raise UserError(
            f"{folder} has no {FILE} for serving.first_layer {setting}: python -m distill.fit_triggers --config …"
            f" checkpoint={folder} writes a folder with one"
        )
    try:
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        weights = {term: float(rule[0]) for term, rule in stored["rules"].items()}
        kinds = {term: (str(rule[1]), str(rule[2])) for term, rule in stored["rules"].items() if len(rule) > 1}
        settings = {str(name): Setting(**fields) for name, fields in stored["settings"].items()}
        layer = FirstLayer(float(stored["bias"]), weights, kinds, settings)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(f"{path} cannot be read as a first layer: {error}") from error
    unknown = {kind for pair in kinds.values() for kind in pair} - {*taxonomy.families, *taxonomy.subfamilies}
    if unknown or setting not in settings:
        wrong = f"speaks of {sorted(unknown)[0]}" if unknown else f"has no setting {setting}, but {', '.join(settings)}"
        raise UserError(f"{path} {wrong}: fit it again, or choose another serving.first_layer")
    return SureLayer(layer, settings[setting], taxonomy)
