"""Leet: digits and signs that stand for letters inside words, read as those."""

from __future__ import annotations

import re

import numpy as np

from core.decode.plausible import LIKELY, LOG_PROBABILITY, likelihood

SIGNS = str.maketrans("034@$57+89€6", "oeaassttbgeg")
EITHER = "1!|"
"""These stand for i or for l, whichever goes better with its neighbours."""
AS_I, AS_L = (LOG_PROBABILITY[:, [letter]] + LOG_PROBABILITY[[letter]] for letter in (9, 12))  # (before, after)
BETWEEN = np.where(AS_I >= AS_L, "i", "l").tolist()
"""The likelier of them by the letter before and the letter after."""
NUMBERS = {"0": "o", "1": "i", "4": "a", "15": "is", "17": "it", "45": "as", "47": "at", "50": "so", "70": "to"}
"""The numbers that are read as words; the others stay numbers."""
TOKEN = re.compile(r"[^\s\"'`.,;:?(){}\[\]<>=/\\-]+")
DISGUISED = re.compile(r"[013456789@$!|+€][A-Za-z]")
FEWEST, LEAST_SHARE = 3, 0.25
"""Disguised words that make a text leet: this many, and this share of all."""


def read(text: str) -> str:
    """The text with leet words spelled out; itself where few words are disguised or nothing readable comes out."""
    if len(DISGUISED.findall(text)) < FEWEST:
        return text
    words = TOKEN.findall(text)
    disguised = [word for word in words if _is_disguised(word)]
    if len(disguised) < max(FEWEST, LEAST_SHARE * len(words)):
        return text
    if likelihood(" ".join(map(_spelled, disguised))) < LIKELY:
        return text
    return TOKEN.sub(lambda found: _spelled(found[0]), text)


def _is_disguised(word: str) -> bool:
    """A sign stands before a letter; not so in `Apple11` and `word!`, nor in `2nd` and `3D`, which begin with it."""
    found = DISGUISED.search(word)
    return found is not None and (found.start() > 0 or len(word) > 3)


def _spelled(word: str) -> str:
    """One word; signs at its end stay punctuation, and digits alone a number but for `NUMBERS`."""
    bare = word.rstrip("!|+$")
    if not any(map(str.isalpha, bare)):
        return NUMBERS.get(bare, bare) + word[len(bare) :]
    letters = list(bare.translate(SIGNS))
    for place, letter in enumerate(letters):
        if letter in EITHER:
            before, after = (
                letters[place - 1] if place else " ",
                letters[place + 1] if place + 1 < len(letters) else " ",
            )
            letters[place] = BETWEEN[_row(before)][_row(after)]
    return "".join(letters) + word[len(bare) :]


def _row(character: str) -> int:
    """Where a character stands in the table of pairs."""
    code = ord(character) | 32  # ASCII's lower case
    return code - 96 if 97 <= code <= 122 else 0
