"""One regular expression for where any of many phrases stands in a line of words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from core.phrases import GAP, WIDEST

_BETWEEN = rf"\S++(?: ++\S++){{0,{WIDEST - 1}}}"  # the words of a gap; possessive, so that nothing is tried twice
Node = dict[str, Any]
"""What may stand next, letter by letter; "" where a phrase ends."""


def anywhere(phrases: Iterable[str]) -> re.Pattern[str]:
    """Finds the space before each place where one or more of the phrases begin, in a line of `core.phrases.line`.

    Phrases are words with spaces between, `…` for a gap. All of them in one tree of letters: what a line is compared
    with hardly grows with their number, and no string is made of each word.
    """
    root: Node = {}
    for phrase in phrases:
        node = root
        for letter in f"{phrase} ":
            node = node.setdefault(letter, {})
        node[""] = {}
    return re.compile(f" (?={_expression(root)})" if root else r"(?!)")


def _expression(node: Node) -> str:
    """A phrase that is the beginning of another is enough for both."""
    if "" in node:
        return ""
    parts = [_written(letter) + _expression(after) for letter, after in node.items()]
    return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"


def _written(letter: str) -> str:
    match letter:
        case " ":
            return " +"
        case other if other == GAP:
            return _BETWEEN
        case _:
            return re.escape(letter)
