"""How much a text looks like language: the mean log-probability of its letters, each after the one before."""

from __future__ import annotations

import string

import numpy as np
from numpy.typing import NDArray

# Minus the log-probability of a letter (column) after another (row), in quarter nats, as the digits 0-9A-Za-z; the
# first row and column stand for everything that is no letter. Counted on the benign texts of
# shared/data/threats/train.jsonl (mostly English) with half a count added to every pair.
TABLE = (
    "08DBDEDGEALKFDFCCMEA8FJCRGS", "9UFCESKERDTI9D7VFW9A8IGMPGQ", "C9LNO5RTRBHX8NR9PWCFK9QUYBX",
    "C9UGR8XX9CcDDSV7QVCI8CVYXJZ", "3CNQG7OKQ9QUJOMBQYGFSFKQWKc", "5DMDBGIJPJXQEF9MHM89EQGKFJX",
    "5CTRUACWa7ZVFXV6VaAPFCaVaHZ", "4CRRS7RHBAbZGMFCIaBGMCWVbJV", "97STR3VYQ9aaNOJ9QWHNEIaUbJa",
    "DFJBDDEFXUYKCD5AGOE99SEbOZI", "F7RQK5NQOFONPSQ7KPOBS6OMSUS", "5FPRI5KJO8TSHPBIPWMAKISQVLT",
    "7APNC7JPW8bM9KOAJZREFELLbBZ", "87FPN6POZAbXKDNA9XRFSEVUVEY", "6CTC8AI8QEQJKOJDLVSB8JKXWIV",
    "9JJGFLBHPJNJDB7GFW8FD9FDRNW", "A9RPK8RQEDZW9LP9Da7EBCVWSId", "DLQQNPSNRNTSDPRSPQNNQ1SORTR",
    "6AOHF6LIS9bHIFG9LZHCDGJQWEa", "4FSFR8QVDBfILLODFQRC8ETKYJd", "6CUMU8PU68cXKOSAKcDEGGWKTFY",
    "AEGDFBNFWEXSAD9ODa888VUaPNS", "F8TQR2VSV6WXTPUDPYONWKTXZOU", "88TRR8SV86YUIUE8RaDFOUZHYRX",
    "6AQDPBNRMBRTOKQL6QPM6KRVIKT", "2KLMOEPRZGZYHJJ7EcNBGTXLWNL", "B7NNM3QML9TMHNNDRUPLPEOLLGE",
)  # fmt: skip
DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
LOG_PROBABILITY = np.array([[DIGITS.index(digit) for digit in row] for row in TABLE], np.float32) / -4  # (27, 27)
SYMBOLS = 27
LIKELY = -3.2
"""Language lies above it, in nats a pair; random letters lie near -4.5."""
_FLAT = LOG_PROBABILITY.ravel()
_SYMBOL = bytes(
    ord(letter) - 96 if (letter := chr(code).lower()) in string.ascii_lowercase else 0 for code in range(256)
)


def symbols(text: str) -> NDArray[np.uint8]:
    """(characters,): 1 to 26 for the letters a to z, 0 for everything else, one number a character."""
    return np.frombuffer(text.encode("ascii", "replace").translate(_SYMBOL), np.uint8)


def pairs(text: str) -> NDArray[np.uint16]:
    """(characters - 1,): which cell of the table, counted row after row, each pair of neighbours is."""
    found = symbols(text).astype(np.uint16)
    return found[:-1] * np.uint16(SYMBOLS) + found[1:]


def likelihood(text: str) -> float:
    """Mean log-probability over the pairs that hold a letter, nats; minus infinity where there is none."""
    cells = pairs(f" {text} ")
    cells = cells[cells > 0]
    return float(_FLAT.take(cells).mean()) if len(cells) else -np.inf
