"""The decoded view of a text: every decoder in turn, twice, within strict limits of size."""

from __future__ import annotations

import re
from dataclasses import dataclass

from core.decode import escapes, invisible, leet, lookalikes, rotated, runs

SEEN = 8_000
"""Characters looked at for unseen ones; of what is left without them …"""
READ = 2_000
"""… so many are decoded; a model of 256 tokens reads about 1,100. What stands behind stays as it is."""
ROUNDS = 2
"""Encodings within encodings."""
ASCII = re.compile("[\0-\x7f]+")


@dataclass(frozen=True)
class View:
    """What a text says when it is decoded."""

    text: str
    """To its end: where a view is scored instead of the text, nothing may hide behind what is decoded."""
    kinds: tuple[str, ...]
    """What was decoded: invisible, look-alikes, url, entities, escapes, binary, hex, base64, rot13, leet."""


def decoded(text: str) -> View | None:
    """A text with its beginning decoded; None where nothing is encoded there.

    Its time is linear in the text, and no longer for a text beyond `SEEN` characters; it raises nothing on any text.
    """
    view, behind, kinds = text[:SEEN], text[SEEN:], list[str]()
    for _ in range(ROUNDS):
        before = view
        view, left = _once(before, kinds)
        behind = left + behind
        if view == before[:READ]:
            break
    return View(view + behind, tuple(dict.fromkeys(kinds))) if kinds else None


def _once(text: str, kinds: list[str]) -> tuple[str, str]:
    """Every decoder once, those that found something noted in `kinds`; the text decoded, and what stands behind it."""
    behind = text[READ:]
    if not text.isascii():
        foreign = frozenset(ASCII.sub("", text))
        shown = invisible.shown(text, foreign)
        behind = shown[READ:]
        text = _noted("invisible", shown[:READ], text[:READ], kinds)
        text = _noted("look-alikes", lookalikes.latin(text, foreign), text, kinds)
    text, forms = escapes.unescaped(text[:READ])
    text, packed = runs.unpacked(text)
    kinds += (*forms, *packed)
    text = _noted("rot13", rotated.turned(text), text, kinds)
    return _noted("leet", leet.read(text), text, kinds), behind


def _noted(kind: str, after: str, before: str, kinds: list[str]) -> str:
    if after != before:
        kinds.append(kind)
    return after
