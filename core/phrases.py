"""The words of a text, their runs, and pairs with a gap: what triggers and rules are made of."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Sequence

LONGEST = 3  # words in a run
WIDEST = 3  # words in a gap
GAP = "…"
READ_CHARACTERS = 1200  # of a text: what a model of 256 tokens reads
# Splitting bytes is seven times as fast as a regular expression, and this runs on every text that is served.
_KEPT = bytes(code if code >= 128 or chr(code).isalnum() or chr(code) == "'" else 32 for code in range(256))
_LOWERED = _KEPT.lower()
_FOREIGN = re.compile(
    "[\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\u2010-\u2016\u2018\u201a-\u201f\u2026\u2039\u203a\u00ab\u00bb\u3000-\u3003\u3008-\u3011\uff01-\uff0f\uff1a-\uff1f]"
)


def line(text: str) -> str:
    """The words of the text's beginning in lower case, one or more spaces before, between and behind them.

    Words are letters and digits, an apostrophe inside; a script without spaces gives a word from sign to sign.
    """
    beginning = text[:READ_CHARACTERS]
    if beginning.isascii():
        kept = beginning.encode().translate(_LOWERED).decode()
    else:
        lowered = _FOREIGN.sub(" ", beginning.lower().replace("\u2019", "'"))
        kept = lowered.encode("utf-8", "replace").translate(_KEPT).decode()
    kept = f" {kept} "
    if "'" in kept:
        kept = kept.replace(" '", "  ").replace("' ", "  ")
        if " '" in kept or "' " in kept:  # where several stand together, one was taken
            kept = " ".join(["", *(word.strip("'") for word in kept.split()), ""])
    return kept


def words(text: str) -> list[str]:
    """The words of the text's beginning, as in its `line`."""
    return line(text).split()


def runs(found: Sequence[str], longest: int = LONGEST) -> Iterator[str]:
    """Every run of one word to `longest` words."""
    for size in range(1, longest + 1):
        for start in range(len(found) - size + 1):
            yield " ".join(found[start : start + size])


def pairs_with_gap(found: Sequence[str], among: Container[str]) -> Iterator[str]:
    """`first … second` for any two of `among` with one to `WIDEST` other words between them."""
    places = [place for place, word in enumerate(found) if word in among]
    for order, start in enumerate(places):
        for stop in places[order + 1 : order + WIDEST + 2]:
            if 2 <= stop - start <= WIDEST + 1:
                yield f"{found[start]} {GAP} {found[stop]}"
