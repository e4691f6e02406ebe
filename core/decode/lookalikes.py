"""Letters that look like Latin ones, read as those: Cyrillic and Greek within Latin words, mathematical alphabets."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Set

# A choice from Unicode's confusables (Technical Standard 39), those that were seen in attacks first.
CYRILLIC = dict(
    zip("авсԁеһіјкӏмпорԛѕтухуѵԝАВСЕНІЈКМОРЅТХУѴԜԚ", "abcdehijklmnopqstyxyvwABCEHIJKMOPSTXYVWQ", strict=True)
)
GREEK = dict(zip("αβϲεηικνοργτυχωϳΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹ", "abcenikvopytuxwjABEZHIKMNOPTYXC", strict=True))
OTHER = dict(zip("ɑⱭɡɩƖօսոհյցլ", "aAgiIounhjgl", strict=True))
SMALL_CAPITALS = dict(zip("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘǫʀꜱᴛᴜᴠᴡʏᴢ", "abcdefghijklmnopqrstuvwyz", strict=True))
ALIKE = CYRILLIC | GREEK | OTHER | SMALL_CAPITALS
READ_AS = str.maketrans(ALIKE)
FANCY = re.compile("[\u2100-\u2138\u24b6-\u24e9\uff21-\uff3a\uff41-\uff5a\U0001d400-\U0001d7ff\U0001f130-\U0001f189]")
WORD = re.compile(r"[^\W\d_]+")
FEWEST = 3
"""Fancy letters: one or two stand in mathematics and in names, `ℝ`, `ℓ`, `™`."""


def latin(text: str, foreign: Set[str]) -> str:
    """The text with such letters replaced; itself where there are none.

    A foreign letter is replaced where its word holds Latin letters or small capitals; Russian or Greek is left alone.
    foreign: the text's characters beyond ASCII.
    """
    fancy = any(map(FANCY.match, foreign))
    if fancy and len(FANCY.findall(text)) >= FEWEST:
        text = FANCY.sub(_plain, text)
    elif foreign.isdisjoint(ALIKE):
        return text
    return WORD.sub(_word, text)


def _word(found: re.Match[str]) -> str:
    word = found[0]
    if word.isascii():
        return word
    read = word.translate(READ_AS)
    if not read.isascii():  # foreign letters that are like no Latin one: a word of another script
        return word
    return read if any(letter.isascii() or letter in SMALL_CAPITALS for letter in word) else word


def _plain(found: re.Match[str]) -> str:
    if "\U0001f130" <= found[0] <= "\U0001f189":  # squared and circled capitals have no decomposition
        return chr(ord("A") + (ord(found[0]) - 0x1F130) % 32 % 26)
    read = unicodedata.normalize("NFKC", found[0])
    return read if read.isascii() else found[0]
