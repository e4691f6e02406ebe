"""Text to token ids with the `tokenizers` library alone: no transformers, explicit truncation and padding."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from core.errors import UserError

PAD_ID = 1


class TextTokenizer:
    """An MPNet tokenizer cut at `max_length` tokens.

    `tokenizer.json` may carry a truncation and a padding of its own; both are overridden here, so that the
    length in the checkpoint's metadata is the one that counts.
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length)
        self._tokenizer = tokenizer
        self.max_length = max_length

    @classmethod
    def open(cls, folder: Path, max_length: int) -> TextTokenizer:
        """Reads `tokenizer.json` of a folder; raises UserError when it is missing or broken."""
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise UserError(f"{folder} holds no tokenizer.json; a checkpoint needs its (fast) tokenizer beside it")
        try:
            return cls(Tokenizer.from_file(str(path)), max_length)
        except Exception as error:  # the Rust side raises plain Exception
            raise UserError(f"{path} cannot be read as a tokenizer: {error}") from error

    @property
    def size(self) -> int:
        return self._tokenizer.get_vocab_size()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, special tokens included, at most `max_length`."""
        # A lone surrogate cannot be UTF-8; it becomes "?" instead of an exception in the guard.
        readable = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(readable)]  # without offsets

    def rules(self) -> dict[str, Any]:
        """What decides the ids: the content of tokenizer.json without the padding and truncation that it carried."""
        rules: dict[str, Any] = json.loads(self._tokenizer.to_str())
        rules["padding"] = rules["truncation"] = None
        return rules

    def hash(self) -> str:
        """SHA-256 of `rules`."""
        return hashlib.sha256(json.dumps(self.rules(), sort_keys=True).encode()).hexdigest()


def pad(ids: Sequence[Sequence[int]], width: int | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Right-pads to the longest text, or to `width`: (input_ids, attention_mask), each (texts, tokens) int64."""
    width = max((len(row) for row in ids), default=0) if width is None else width
    input_ids = np.full((len(ids), width), PAD_ID, dtype=np.int64)
    mask = np.zeros((len(ids), width), dtype=np.int64)
    for index, row in enumerate(ids):
        input_ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
    return input_ids, mask
