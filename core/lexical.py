"""The lexical encoder: a text's TF-IDF over runs of words and characters as its embedding, without scikit-learn."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from core.errors import UserError

VOCABULARY = "vocab.json"
IDF = "idf.safetensors"
WORD = re.compile(r"\b\w\w+\b")

# scikit-learn's analysers, written again: importing them costs a serving process a second and 160 MB.


def word_ngrams(text: str, shortest: int, longest: int) -> list[str]:
    """Runs of words of at least two letters: scikit-learn's analyser `word` on text in lower case."""
    words = WORD.findall(text)
    sizes = range(shortest, longest + 1)
    return [" ".join(words[start : start + size]) for size in sizes for start in range(len(words) - size + 1)]


def character_ngrams(text: str, shortest: int, longest: int) -> list[str]:
    """Runs of characters inside a word with a space on each side: scikit-learn's `char_wb` on text in lower case."""
    found = []
    for word in text.split():
        padded = f" {word} "
        for size in range(shortest, longest + 1):
            if size >= len(padded):  # a short word counts once, whole
                found.append(padded)
                break
            found += [padded[start : start + size] for start in range(len(padded) - size + 1)]
    return found


@dataclass(frozen=True)
class Ngrams:
    """One way to take a text apart; it reads lower case."""

    unit: Literal["word", "character"]
    shortest: int
    longest: int

    def __call__(self, text: str) -> list[str]:
        """All terms of a text, with repetition."""
        match self.unit:
            case "word":
                return word_ngrams(text.lower(), self.shortest, self.longest)
            case "character":
                return character_ngrams(text.lower(), self.shortest, self.longest)


@dataclass(frozen=True, eq=False)
class Block:
    """The known terms of one way to take texts apart; their place is their column within the block."""

    ngrams: Ngrams
    terms: tuple[str, ...]
    idf: NDArray[np.float32]  # (terms,)


class LexicalEncoder:
    """TF-IDF of one or two blocks: each block of a text has length 1, then the whole (Salton and Buckley 1988).

    It equals scikit-learn's TfidfVectorizer for each block, joined by FeatureUnion and Normalizer. A text without any
    known term is all zeros: its scores are the heads' biases.
    """

    def __init__(self, blocks: Sequence[Block], sublinear: bool, max_characters: int) -> None:
        self.blocks = tuple(blocks)
        self.sublinear = sublinear
        self.max_characters = max_characters
        self._edges = list(accumulate((len(block.terms) for block in blocks), initial=0))
        self._idf = np.concatenate([block.idf for block in blocks]).astype(np.float64)
        # term -> column of the embedding
        self._columns = [
            dict(zip(block.terms, range(edge, edge + len(block.terms)), strict=True))
            for block, edge in zip(blocks, self._edges, strict=False)
        ]

    @classmethod
    def open(cls, folder: Path, max_characters: int) -> LexicalEncoder:
        """Reads what `write` wrote; UserError where it is missing or broken."""
        try:
            stored: dict[str, Any] = json.loads((folder / VOCABULARY).read_text(encoding="utf-8"))
            blocks = []
            idf = load_file(folder / IDF)
            for part in stored["blocks"]:
                ngrams = Ngrams(part["unit"], part["shortest"], part["longest"])
                blocks.append(Block(ngrams, tuple(part["terms"]), idf[part["unit"]]))
            if any(block.idf.shape != (len(block.terms),) for block in blocks):
                raise ValueError(f"{IDF} does not hold one number for each term")
            return cls(blocks, stored["sublinear"], max_characters)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise UserError(
                f"{folder} cannot be read as a lexical checkpoint ({error}); restore it from its source or fit it again"
            ) from error

    def write(self, folder: Path) -> None:
        """Writes vocab.json and idf.safetensors."""
        parts = [{**vars(block.ngrams), "terms": block.terms} for block in self.blocks]
        stored = json.dumps({"sublinear": self.sublinear, "blocks": parts}, ensure_ascii=False)
        (folder / VOCABULARY).write_text(stored + "\n", encoding="utf-8")
        # safetensors' own file would be readable by its writer alone
        (folder / IDF).write_bytes(save({block.ngrams.unit: block.idf for block in self.blocks}))

    def use_threads(self, threads: int) -> None:
        """There is nothing to divide."""

    @property
    def dimension(self) -> int:
        return self._edges[-1]

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Columns of the known terms of each text, with repetition."""
        return [self._tokenised(text[: self.max_characters]) for text in texts]

    def whole(self, text: str, ids: Sequence[int]) -> bool:
        return len(text) <= self.max_characters

    def _tokenised(self, text: str) -> list[int]:
        ids: list[int] = []
        for block, columns in zip(self.blocks, self._columns, strict=True):
            ids += [columns[term] for term in block.ngrams(text) if term in columns]
        return ids

    def weigh(self, ids: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """One text's embedding without its zeros: columns, rising, and their values."""
        columns, counts = np.unique(np.asarray(ids, np.int64), return_counts=True)
        weights = (1.0 + np.log(counts) if self.sublinear else counts) * self._idf[columns]
        present = 0
        for start, stop in pairwise(np.searchsorted(columns, self._edges)):
            length = math.sqrt(np.square(weights[start:stop]).sum())
            weights[start:stop] /= length or 1.0
            present += length > 0
        return columns, (weights / math.sqrt(present or 1)).astype(np.float32)

    def embed(self, tokens: Sequence[Sequence[int]], width: int | None = None) -> NDArray[np.float32]:
        """(texts, dim); `width` makes no difference, because nothing is padded."""
        embeddings = np.zeros((len(tokens), self.dimension), np.float32)
        for row, ids in zip(embeddings, tokens, strict=True):
            columns, weights = self.weigh(ids)
            row[columns] = weights
        return embeddings

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> NDArray[np.float32]:
        """(texts, dim), dense: mind the memory, a thousand texts of 90,000 dimensions take 360 MB."""
        return self.embed(self.tokenise(texts))
