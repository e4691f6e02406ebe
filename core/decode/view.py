"""The decoded view of a text: every decoder in turn, twice, within strict limits of size."""

from __future__ import annotations

import re
from dataclasses import dataclass

from core.decode import escapes, invisible, leet, lookalikes, rotated, runs

SEEN = 8_000
"""Characters looked at for unseen ones; what is left without them is cut to …"""
READ = 2_000
"""… so many characters. What stands behind is not decoded; a model of 256 tokens reads about 1,100."""
ROUNDS = 2
"""Encodings within encodings."""
ASCII = re.compile("[\0-\x7f]+")


@dataclass(frozen=True)
class View:
    """What a text says when it is decoded."""

    text: str
    kinds: tuple[str, ...]
    """What was decoded: invisible, look-alikes, url, entities, escapes, binary, hex, base64, rot13, leet."""


def decoded(text: str) -> View | None:
    """The decoded view of the beginning of a text; None where nothing is encoded.

    Its time is linear in the text, and no longer for a text beyond `SEEN` characters; it raises nothing on any text.
    """
    view, kinds = text[:SEEN], list[str]()
    for _ in range(ROUNDS):
        after = _once(view, kinds)
        if after == view[:READ]:
            break
        view = after
    return View(view[:READ], tuple(dict.fromkeys(kinds))) if kinds else None


def _once(text: str, kinds: list[str]) -> str:
    """Every decoder once, those that found something noted in `kinds`."""
    if not text.isascii():
        foreign = frozenset(ASCII.sub("", text))
        text = _noted("invisible", invisible.shown(text, foreign)[:READ], text[:READ], kinds)
        text = _noted("look-alikes", lookalikes.latin(text, foreign), text, kinds)
    text, forms = escapes.unescaped(text[:READ])
    text, packed = runs.unpacked(text)
    kinds += (*forms, *packed)
    text = _noted("rot13", rotated.turned(text), text, kinds)
    return _noted("leet", leet.read(text), text, kinds)


def _noted(kind: str, after: str, before: str, kinds: list[str]) -> str:
    if after != before:
        kinds.append(kind)
    return after
