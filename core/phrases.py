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
_FOREIGN = re.compile(
    "[\u00a0\u2010-\u2016\u2018\u201a-\u201f\u2026\u2039\u203a\u00ab\u00bb\u3000-\u3003\u3008-\u3011\uff01-\uff0f\uff1a-\uff1f]"
)


def words(text: str) -> list[str]:
    """The words of the text's beginning in lower case: letters and digits, an apostrophe inside.

    A script without spaces gives a word from sign to sign.
    """
    lowered = text[:READ_CHARACTERS].lower()
    if not lowered.isascii():
        lowered = _FOREIGN.sub(" ", lowered.replace("\u2019", "'"))
    found = lowered.encode("utf-8", "replace").translate(_KEPT).decode().split()
    if "'" not in lowered:
        return found
    return [bare for word in found if (bare := word.strip("'"))]


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
