"""Escapes of URLs, HTML and programs, replaced by the characters they stand for."""

from __future__ import annotations

import re
from urllib.parse import unquote

MARKS = {"url": "%", "entities": "&#", "escapes": "\\"}
FORMS = {
    "url": re.compile(r"%([0-9A-Fa-f]{2})"),
    "entities": re.compile(r"&#(?:([0-9]{1,7})|[xX]([0-9A-Fa-f]{1,6}));"),
    "escapes": re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|u\{([0-9A-Fa-f]{1,6})\})"),
}
FEWEST = 3
"""Escapes of letters and spaces that make a text worth another look."""


def unescaped(text: str) -> tuple[str, tuple[str, ...]]:
    """The text without escapes, and which forms were many enough to be read."""
    kinds = []
    for kind, pattern in FORMS.items():
        if text.count(MARKS[kind]) < FEWEST:
            continue
        telling = (letter.isalpha() or letter == " " for letter in map(_character, pattern.finditer(text)))
        if sum(telling) < FEWEST:
            continue
        # A character of a URL can take several escapes, as UTF-8.
        text = unquote(text, errors="replace") if kind == "url" else pattern.sub(_character, text)
        kinds.append(kind)
    return text, tuple(kinds)


def _character(found: re.Match[str]) -> str:
    """What one escape stands for; itself where that is no character."""
    digits = next(group for group in found.groups() if group is not None)
    code = int(digits, 10 if found[0][1] == "#" and found[0][2] not in "xX" else 16)
    return chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else found[0]
