"""Figures and foreign texts as they stand on a page."""

from __future__ import annotations

import unicodedata
from datetime import datetime, timedelta

NONE = "–"
"""Where a figure cannot be said or was not measured."""


def share(value: float | None) -> str:
    """A figure between 0 and 1: four decimals."""
    return NONE if value is None else f"{value:.4f}"


def amount(value: float | None) -> str:
    """Milliseconds, megabytes, percent: about three digits, all of them before the point."""
    if value is None:
        return NONE
    size = abs(value)
    return f"{value:,.{3 if size < 1 else 2 if size < 10 else 1 if size < 100 else 0}f}"


def count(value: int | None) -> str:
    """A number of things."""
    return NONE if value is None else f"{value:,}"


def beside(value: float | None, limit: float, unit: str) -> str:
    """A figure with enough digits that rounding never shows it on its limit when it is not there."""
    if value is None:
        return NONE
    shown = amount(value) if unit else share(value)
    decimals = len(shown.partition(".")[2])
    while float(shown.replace(",", "")) == limit != value and decimals < 12:
        decimals += 1
        shown = f"{value:,.{decimals}f}"
    return shown


def size(number: int) -> str:
    """Bytes as kB or MB, powers of ten."""
    return f"{number / 1e6:.2f} MB" if number >= 1e6 else f"{number / 1e3:.1f} kB" if number >= 1e3 else f"{number} B"


def moment(timestamp: str) -> datetime | None:
    """ISO 8601; None for anything else."""
    try:
        return datetime.fromisoformat(timestamp)
    except ValueError:
        return None


def when(timestamp: str) -> str:
    """ISO 8601 to the minute as people write it; what is none stays as it is."""
    if (at := moment(timestamp)) is None:
        return timestamp
    zone = " UTC" if at.utcoffset() == timedelta(0) else at.strftime(" %z")
    return at.strftime("%Y-%m-%d %H:%M") + zone


def visible(text: str) -> str:
    """The text with everything that hides or reorders it spelled out: a page shows what the model was given.

    Controls become their pictures (U+2400 and on), format characters (zero-width, bidirectional, tags) and separators
    of lines `⟨U+202E⟩`, lone surrogates U+FFFD. Line feeds and tabs stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    code = ord(character)
    match unicodedata.category(character):
        case "Cc" if character not in "\n\t":
            return chr(0x2400 + code) if code < 0x20 else "␡" if code == 0x7F else f"⟨U+{code:04X}⟩"
        case "Cf" | "Zl" | "Zp":
            return f"⟨U+{code:04X}⟩"
        case "Cs":
            return "\ufffd"
    return character


def cut(text: str, characters: int) -> tuple[str, bool]:
    """The beginning of a text, ended at a space where one is near, and whether anything was left out."""
    if len(text) <= characters:
        return text, False
    start = text[:characters]
    space = start.rfind(" ")
    return (start[:space] if space > characters * 0.8 else start).rstrip() + " …", True
