"""How triggers are learned: precise ones that together stand in as many attacks as possible."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from core.phrases import GAP, pairs_with_gap, runs, words
from core.rows import Rows
from core.trigger import Trigger

TELLING = 0.5  # share of attacks among the texts of a word that may stand at an end of a pattern
AGAIN = 0.5  # what another trigger in the same attack is worth, once more for each that it has already
DOUBT = 0.8  # a trigger whose precision on validation lies below this is dropped …
JUDGED = 3  # … where at least so many of its texts hold it


def learn(
    rows: Rows,
    validation: Rows | None = None,
    minimum_attacks: int = 10,
    minimum_precision: float = 0.95,
    limit: int = 300,
) -> list[Trigger]:
    """The triggers of the training rows, the most frequent first; those that validation contradicts are left out.

    They keep their precision as plain pieces of the text too, which is how raxe-ce looks for them: `dan` would also
    stand in `danger`. Of two nested ones in the same attacks the one that is chosen leaves the other little to add.
    """
    minimum = min(minimum_attacks, len(rows))
    texts = [words(text) for text in rows.texts]
    attack = rows.labels == 1
    holders, benign = _counted(texts, attack, minimum)
    good = {term: at for term, at in holders.items() if len(at) >= minimum_precision * (len(at) + benign[term])}
    lowered = [text.lower() for text, is_attack in zip(rows.texts, attack, strict=True) if not is_attack]
    families = np.array(rows.families)
    chosen: list[Trigger] = []
    for term in _covering(good, len(rows)):
        if len(chosen) == limit:
            break
        found = Trigger(term, _commonest(families[good[term]]), len(good[term]), benign[term])
        if found.kind != "pattern":
            pieces = sum(term in text for text in lowered)
            if found.attacks < minimum_precision * (found.attacks + pieces):
                continue
        chosen.append(replace(found, recall=found.attacks / int(attack.sum())))
    checked = (
        chosen if validation is None else [found for found in _checked(chosen, validation) if not _doubtful(found)]
    )
    return sorted(checked, key=lambda trigger: (-trigger.attacks, trigger.phrase))


def _counted(
    texts: Sequence[Sequence[str]], attack: NDArray[np.bool_], minimum: int
) -> tuple[dict[str, NDArray[np.int64]], Counter[str]]:
    """The rows of the attacks that hold each frequent term, and in how many benign texts it stands.

    A run is frequent only where its words are (Agrawal and Srikant 1994), so rare words go first.
    """
    attacks = [place for place in range(len(texts)) if attack[place]]
    by_word = Counter(word for place in attacks for word in set(texts[place]))
    known = {word for word, count in by_word.items() if count >= minimum}
    benign_words = Counter(
        word for place, found in enumerate(texts) if not attack[place] for word in known.intersection(found)
    )
    telling = {word for word in known if by_word[word] >= TELLING * (by_word[word] + benign_words[word])}
    holders: dict[str, list[int]] = {}
    for place in attacks:
        for term in set(_terms(texts[place], known, telling)):
            holders.setdefault(term, []).append(place)
    frequent = {term: np.array(at) for term, at in holders.items() if len(at) >= minimum}
    benign: Counter[str] = Counter()
    for place, found in enumerate(texts):
        if not attack[place]:
            benign.update(frequent.keys() & set(_terms(found, known, telling)))
    return frequent, benign


def _terms(found: Sequence[str], known: Collection[str], telling: Collection[str]) -> Iterator[str]:
    """The runs of known words, and the patterns between telling ones."""
    start = 0
    for place in range(len(found) + 1):
        if place == len(found) or found[place] not in known:
            yield from runs(found[start:place])
            start = place + 1
    yield from pairs_with_gap(found, telling)


def _covering(holders: Mapping[str, NDArray[np.int64]], rows: int) -> Iterator[str]:
    """The terms in the order in which each adds most to those before (lazy greedy: Minoux 1978)."""
    worth = np.ones(rows)
    queue = [(-float(len(at)), term) for term, at in holders.items()]
    heapq.heapify(queue)
    while queue:
        _, term = heapq.heappop(queue)
        gain = float(worth[holders[term]].sum())
        if queue and -gain > queue[0][0]:  # others have taken its attacks since it was weighed
            heapq.heappush(queue, (-gain, term))
            continue
        worth[holders[term]] *= AGAIN
        yield term


def _commonest(families: NDArray[np.str_]) -> str:
    values, counts = np.unique(families, return_counts=True)
    return str(values[counts.argmax()])


def _checked(chosen: Sequence[Trigger], rows: Rows) -> list[Trigger]:
    """The triggers with their counts on validation."""
    names = {trigger.phrase for trigger in chosen}
    ends = {word for name in names if GAP in name for word in name.split(f" {GAP} ")}
    counts: tuple[Counter[str], Counter[str]] = Counter(), Counter()
    for text, label in zip(rows.texts, rows.labels.tolist(), strict=True):
        found = words(text)
        counts[label].update(names & {*runs(found), *pairs_with_gap(found, ends)})
    benign, attacks = counts
    return [
        replace(found, validation_attacks=attacks[found.phrase], validation_benign=benign[found.phrase])
        for found in chosen
    ]


def _doubtful(found: Trigger) -> bool:
    seen = found.validation_attacks + found.validation_benign
    return seen >= JUDGED and found.validation_attacks < DOUBT * seen
