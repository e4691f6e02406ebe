"""What is not seen: zero-width characters and heaps of marks are taken out, letters hidden in tags are read."""

from __future__ import annotations

import re
from collections.abc import Set

Ranges = tuple[tuple[int, int], ...]
# Soft hyphen, joiners, direction marks, Hangul and Khmer fillers, Mongolian separators, variation selectors.
UNSEEN: Ranges = (
    (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
    (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0), (0xE0100, 0xE01EF),
)  # fmt: skip
MARKS: Ranges = ((0x300, 0x36F), (0x488, 0x489), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF), (0x20D0, 0x20FF))
TAGS: Ranges = ((0xE0000, 0xE007F),)
"""The tag block repeats ASCII, unseen."""


def _among(ranges: Ranges) -> str:
    """A class of a regular expression."""
    return f"[{''.join(f'{chr(first)}-{chr(last)}' for first, last in ranges)}]"


ALL_UNSEEN, ALL_MARKS = re.compile(_among(UNSEEN)), re.compile(_among(MARKS))
# Emoji, Persian and the scripts of India are written with unseen characters; Latin letters are not.
BETWEEN_LETTERS = re.compile(f"[A-Za-z]{_among(UNSEEN)}+[A-Za-z]")
HEAPED = re.compile(f"[A-Za-z]{_among(MARKS)}{{2,}}")
TAGGED = re.compile(f"{_among(TAGS)}{{8,}}")  # flags (Scotland) are spelled with at most six
CONCERNED = frozenset(
    chr(code) for ranges in (UNSEEN, MARKS, TAGS) for first, last in ranges for code in range(first, last + 1)
)


def shown(text: str, foreign: Set[str]) -> str:
    """The text as a reader sees it, with hidden tags as the letters they stand for; itself where nothing is hidden.

    foreign: its characters beyond ASCII.
    """
    if foreign.isdisjoint(CONCERNED):
        return text
    read = TAGGED.sub(_untagged, text)
    if BETWEEN_LETTERS.search(read):
        read = ALL_UNSEEN.sub("", read)
    if HEAPED.search(read):
        read = ALL_MARKS.sub("", read)
    return read


def _untagged(run: re.Match[str]) -> str:
    codes = (ord(character) - 0xE0000 for character in run[0])
    return f" {''.join(chr(code) for code in codes if 32 <= code < 127)} "
