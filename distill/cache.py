"""The shards of cached teacher outputs: written whole or not at all, found by the hash of the text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from core.errors import UserError
from core.folders import atomic_write
from core.rows import text_hash

Outputs = Mapping[str, NDArray[np.generic]]
"""What a teacher says of some texts: `embedding` (texts, dim), and with hidden states `hidden` and `ends`."""


def key_of(parts: Mapping[str, object]) -> str:
    """The name of the cache that holds what these parts made."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


class TargetCache:
    """The shards of one key: each holds text hashes, embeddings and, where asked, hidden states."""

    def __init__(self, folder: Path, layers: Sequence[int] = ()) -> None:
        self.folder = folder
        self.layers = tuple(layers)
        self._place: dict[str, tuple[Path, int]] = {}  # text hash -> shard, row
        for shard in sorted(folder.glob("shard-*.safetensors")):
            self._index(shard)

    def _index(self, shard: Path) -> None:
        try:
            with safe_open(shard, "np") as stored:
                hashes = stored.get_tensor("hashes")  # (texts, 32) uint8
        except (SafetensorError, OSError) as error:
            raise UserError(f"{shard} is damaged ({error}); delete it, its texts are then computed again") from error
        for row, digest in enumerate(hashes):
            self._place[digest.tobytes().hex()] = (shard, row)

    def missing(self, texts: Sequence[str]) -> list[str]:
        """The distinct texts without a target."""
        return [text for text in dict.fromkeys(texts) if text_hash(text) not in self._place]

    def add(self, texts: Sequence[str], arrays: Outputs) -> None:
        """Writes one shard whole or not at all."""
        digests = [text_hash(text) for text in texts]
        hashes = np.frombuffer(bytes.fromhex("".join(digests)), np.uint8).reshape(-1, 32)
        name = hashlib.sha256("".join(digests).encode()).hexdigest()[:16]  # same texts, same name: no twins
        shard = self.folder / f"shard-{name}.safetensors"
        atomic_write(shard, save({"hashes": hashes, **arrays}))
        self._index(shard)

    def embeddings(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(texts, dim), in the order given."""
        by_shard: dict[Path, list[tuple[int, int]]] = {}
        for index, text in enumerate(texts):
            shard, row = self._place[text_hash(text)]
            by_shard.setdefault(shard, []).append((index, row))
        result: NDArray[np.float32] | None = None
        for shard, pairs in by_shard.items():
            with safe_open(shard, "np") as stored:
                block = stored.get_tensor("embedding")  # (texts, dim) float32
            if result is None:
                result = np.empty((len(texts), block.shape[1]), np.float32)
            here, there = (list(column) for column in zip(*pairs, strict=True))
            result[here] = block[there]
        return result if result is not None else np.zeros((0, 0), np.float32)

    def hidden(self, text: str) -> NDArray[np.float16]:
        """(layers, tokens, hidden) of one text, read from the shard alone."""
        shard, row = self._place[text_hash(text)]
        with safe_open(shard, "np") as stored:
            ends = stored.get_tensor("ends")  # (texts,) int64: where a text's tokens end
            start = int(ends[row - 1]) if row else 0
            block = stored.get_slice("hidden")[start : int(ends[row])]  # (tokens, layers, hidden)
        return np.moveaxis(block, 1, 0)
