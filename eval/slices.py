"""The decisions on parts of the rows: by family, source, length and script; each slicing counts every row once."""

from __future__ import annotations

import functools
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from core.rows import Rows
from eval.metrics import confusion
from eval.metrics.checks import binary, same_length
from eval.schema import Slice

LENGTH_BOUNDS = (64, 256, 1024, 4096)  # characters, the last of each bucket
READ = 4000  # characters that the script is told from
NO_LETTERS, MIXED, OTHER = "no letters", "mixed", "other"
# The first word of a letter's Unicode name -> its script.
SCRIPTS = {word.upper(): word for word in ("Latin", "Cyrillic", "Greek", "Arabic", "Hebrew", "Hangul")}
SCRIPTS |= {"DEVANAGARI": "Devanagari", "THAI": "Thai", "CJK": "Han", "IDEOGRAPHIC": "Han"}
SCRIPTS |= dict.fromkeys(("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HENTAIGANA"), "Kana")


def by_family(rows: Rows, decisions: ArrayLike) -> dict[str, Slice]:
    """The decisions (n,) of each family: those with attacks first, in each part by name."""
    attack = {family for family, label in zip(rows.families, rows.labels, strict=True) if label}
    order = sorted(set(rows.families), key=lambda family: (family not in attack, family))
    return _slices(rows, decisions, rows.families, order)


def by_source(rows: Rows, decisions: ArrayLike) -> dict[str, Slice]:
    """The decisions (n,) of each source, the largest first."""
    return _slices(rows, decisions, rows.sources, _by_size(rows.sources))


def by_length(rows: Rows, decisions: ArrayLike) -> dict[str, Slice]:
    """The decisions (n,) by characters of the text; every bucket is there, even an empty one."""
    lows = (0, *(bound + 1 for bound in LENGTH_BOUNDS))
    names = [f"{low}-{high}" for low, high in zip(lows, LENGTH_BOUNDS, strict=False)] + [f"{lows[-1]}+"]
    buckets = np.searchsorted(LENGTH_BOUNDS, [len(text) for text in rows.texts])  # (n,)
    return _slices(rows, decisions, [names[bucket] for bucket in buckets], names)


def by_script(rows: Rows, decisions: ArrayLike) -> dict[str, Slice]:
    """The decisions (n,) by `script_of` the text, the most frequent script first."""
    scripts = [script_of(text) for text in rows.texts]
    return _slices(rows, decisions, scripts, _by_size(scripts))


def script_of(text: str) -> str:
    """The script of more than half of the text's letters; "mixed" where none has so many, "no letters" without any.

    Only the first 4,000 characters are read, in their compatibility form (NFKC), so that Ａ, 𝐀 and Ⓐ are Latin.
    Hiragana and Katakana are one, Kana; scripts that `SCRIPTS` does not list are one, "other".
    """
    scripts: Counter[str] = Counter()
    for character, count in Counter(unicodedata.normalize("NFKC", text[:READ])).items():
        if character.isalpha():
            scripts[_script(character)] += count
    if not scripts:
        return NO_LETTERS
    script, letters = scripts.most_common(1)[0]
    return script if 2 * letters > scripts.total() else MIXED


@functools.cache
def _script(letter: str) -> str:
    return SCRIPTS.get(unicodedata.name(letter, "").partition(" ")[0], OTHER)


def _by_size(names: Sequence[str]) -> list[str]:
    """Every name once, the most frequent first, equals by name."""
    counts = Counter(names)
    return sorted(counts, key=lambda name: (-counts[name], name))


def _slices(rows: Rows, decisions: ArrayLike, names: Sequence[str], order: Sequence[str]) -> dict[str, Slice]:
    """The decisions (n,) counted under the rows' `names` (n), all of which are in `order`.

    UserError: decisions that are not 0 or 1, or not as many as rows.
    """
    labels, said = binary(rows.labels, "labels"), binary(decisions, "decisions")
    same_length(labels, said, "decisions")
    members: dict[str, list[int]] = {name: [] for name in order}
    for index, name in enumerate(names):
        members[name].append(index)
    positions = {name: np.array(indices, np.int64) for name, indices in members.items()}
    return {name: Slice.of(confusion(labels[at], said[at])) for name, at in positions.items()}
