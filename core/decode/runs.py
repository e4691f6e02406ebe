"""Runs of base64, hexadecimal digits and bits, replaced by the text they hold."""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from collections.abc import Callable
from itertools import islice

from core.decode.plausible import LIKELY, likelihood

# Lines of an encoded e-mail are one run. Lookbehinds keep a search from starting anew inside a run.
BASE64 = re.compile(r"(?<![A-Za-z0-9+/_=-])(?:[A-Za-z0-9+/]{60,76}\r?\n)*[A-Za-z0-9+/_-]{16,}={0,2}")
HEXADECIMAL = re.compile(r"(?<![0-9A-Za-z])(?:(?:0x)?[0-9A-Fa-f]{2}[ ,:]{0,2}){8,}(?![0-9A-Za-z])")
BITS = re.compile(r"(?<![0-9])(?:[01]{8}[ ,]{0,2}){4,}(?![0-9])")
MOST = 40
"""Runs of a kind that are tried."""
SHORTEST = 16
"""Characters of a run."""
FEWEST = 3
"""Characters of what is decoded, at least."""
RANDOM = -4.1
"""Likelihood below which printable characters are noise; short commands are unlike prose, hence no stricter."""


def unpacked(text: str) -> tuple[str, tuple[str, ...]]:
    """The text with readable runs replaced, and which kinds they were."""
    kinds: list[str] = []
    # Counting is much faster than searching, and hardly a text has so many digits or so long a word.
    if text.count("0") + text.count("1") >= 2 * SHORTEST:
        text = _replaced("binary", BITS, _bits, text, kinds)
    if sum(map(text.count, "234567")) >= SHORTEST / 2:  # the first digit of every second letter in ASCII
        text = _replaced("hex", HEXADECIMAL, _hexadecimal, text, kinds)
    if max(map(len, text.split()), default=0) >= SHORTEST:
        text = _replaced("base64", BASE64, _base64, text, kinds)
    return text, tuple(kinds)


def _replaced(
    kind: str, pattern: re.Pattern[str], decode: Callable[[str], str | None], text: str, kinds: list[str]
) -> str:
    """The text with the runs of one kind replaced, which then stands among `kinds`."""
    parts, end = [], 0
    for found in islice(pattern.finditer(text), MOST):
        content = decode(found[0])
        if content is not None:
            parts += [text[end : found.start()], f" {content} "]
            end = found.end()
    if not parts:
        return text
    kinds.append(kind)
    return "".join((*parts, text[end:]))


def readable(content: bytes) -> str | None:
    """The bytes as text, None unless it can be read: UTF-8, printable, half of it letters, no noise."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        if error.start < len(content) - 3:  # a character cut at the end is forgiven
            return None
        text = content[: error.start].decode()
    text = text.strip("\0")
    if len(text) < FEWEST or not all(character.isprintable() or character in "\n\r\t" for character in text):
        return None
    letters = sum(character.isalpha() or character == " " for character in text)
    told = 2 * letters >= len(text) and (not text.isascii() or likelihood(text) >= RANDOM)
    return text if told or _encoded_again(text) else None


def _encoded_again(text: str) -> bool:
    """Whether there is a readable run in it, or all of it is rot13; each level is shorter than the one around it."""
    return bool(unpacked(text)[1]) or likelihood(codecs.encode(text, "rot13")) >= LIKELY


def _base64(run: str) -> str | None:
    packed = "".join(run.split()).rstrip("=").translate({45: "+", 95: "/"})
    packed = packed[: len(packed) - (len(packed) % 4 == 1)]
    try:
        return readable(base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True))
    except binascii.Error:
        return None


def _hexadecimal(run: str) -> str | None:
    digits = re.sub(r"0x|[ ,:]", "", run)
    return readable(bytes.fromhex(digits)) if len(digits) % 2 == 0 else None


def _bits(run: str) -> str | None:
    digits = re.sub(r"[ ,]", "", run)
    return readable(int(digits, 2).to_bytes(len(digits) // 8))
