"""Rot13, found as the stretch of letters that is far likelier turned by thirteen places than as it stands."""

from __future__ import annotations

import codecs
import re

import numpy as np
from numpy.typing import NDArray

from core.decode.plausible import LIKELY, LOG_PROBABILITY, SYMBOLS, likelihood, pairs

COST = 0.4
"""Nats a pair that a stretch must gain on average: without it noise would add up."""
ENOUGH = 16.0
"""Nats that a stretch must gain beyond it; English gains about two a letter."""
LITTLE = 6.0
"""Nats that the rest of a line may lose: a word that is unlike English both ways."""
MOST = 3
"""Stretches that are turned."""
WORD, LAST = re.compile(r"[^\W\d_]+"), re.compile(r"(?<![^\W\d_])[^\W\d_]+\Z")
TURNED = np.array([0, *((symbol + 12) % 26 + 1 for symbol in range(1, SYMBOLS))])
GAIN = (LOG_PROBABILITY[np.ix_(TURNED, TURNED)] - LOG_PROBABILITY - np.float32(COST)).ravel()
GAIN[0] = 0.0  # no letter on either side: it is the same turned


def turned(text: str) -> str:
    """The text with its stretches of rot13 turned; itself where there are none."""
    for _ in range(MOST):
        start, stop, gained = best_stretch(GAIN.take(pairs(f" {text} ")))
        if gained < ENOUGH:
            return text
        start, stop = _whole_words(text, start, stop)
        part = codecs.encode(text[start:stop], "rot13")
        if likelihood(part) < LIKELY:  # noise of one kind or the other
            return text
        text = text[:start] + part + text[stop:]
    return text


def best_stretch(gain: NDArray[np.float32]) -> tuple[int, int, float]:
    """Where the sum over neighbours is highest, from start to before stop, and that sum (Kadane; Bentley 1984)."""
    sums = np.concatenate((np.zeros(1), np.cumsum(gain, dtype=np.float64)))
    stop = int((sums - np.minimum.accumulate(sums)).argmax())
    start = int(sums[: stop + 1].argmin())
    return start, stop, float(sums[stop] - sums[start])


def _whole_words(text: str, start: int, stop: int) -> tuple[int, int]:
    """The stretch up to the ends of its line where that costs little, else with whole words that gain by being turned.

    Pair i of the text with a space before it ends at character i.
    """
    start, stop = min(start, len(text)), min(stop, len(text))
    while start > 0 and text[start - 1].isalpha():
        start -= 1
    while stop < len(text) and text[stop].isalpha():
        stop += 1
    line_start, line_stop = text.rfind("\n", 0, start) + 1, text.find("\n", stop)
    line_stop = len(text) if line_stop < 0 else line_stop
    if _gained(text[line_start:start]) >= -LITTLE:
        start = line_start
    elif (first := WORD.match(text, start, stop)) and _gained(first[0]) < 0:
        start = first.end()
    if _gained(text[stop:line_stop]) >= -LITTLE:
        stop = line_stop
    elif (last := LAST.search(text, start, stop)) and _gained(last[0]) < 0:
        stop = last.start()
    return start, stop


def _gained(part: str) -> float:
    return float(GAIN.take(pairs(f" {part} ")).sum())
