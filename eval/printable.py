"""Names and texts of others on a terminal: one line, no control characters."""

from __future__ import annotations


def printable(text: str) -> str:
    """Line breaks, escape sequences and other invisible characters become `?`: no text moves the cursor."""
    return "".join(character if character.isprintable() else "?" for character in text)
