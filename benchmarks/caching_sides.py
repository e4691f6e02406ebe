"""One caching of a teacher's embeddings, by us or by sentence-transformers, and how long it took."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.rounds import Timing
from distill.encoder_teacher import EncoderTeacher
from distill.targets import cache_targets

WARM_UP = 64  # texts, untimed: the first call of each side also sets up its kernels


class Ours:
    """`distill.targets.cache_targets` into an empty cache: tokenising, hashing and writing included."""

    def __init__(self, teacher: Path, texts: Sequence[str], tokens_per_batch: int, folder: Path) -> None:
        self.teacher = EncoderTeacher.open(teacher)
        self.texts, self.budget, self.folder = texts, tokens_per_batch, folder
        self.tokens = sum(self.teacher.sizes(texts))
        cache_targets(self.teacher, texts[:WARM_UP], folder, (), tokens_per_batch)

    @property
    def dtype(self) -> torch.dtype:
        """What this machine runs fastest."""
        return self.teacher.dtype

    def __call__(self) -> Timing:
        shutil.rmtree(self.folder, ignore_errors=True)
        return self._timed()

    def again(self) -> float:
        """Seconds of a second epoch or run, which finds everything in the cache; RuntimeError where it does not."""
        shards = set(self.folder.rglob("*.safetensors"))
        seconds = self._timed().seconds
        if set(self.folder.rglob("*.safetensors")) != shards:
            raise RuntimeError("the second run computed targets that the first had cached")
        return seconds

    def _timed(self) -> Timing:
        start = time.perf_counter()
        cache = cache_targets(self.teacher, self.texts, self.folder, (), self.budget)
        self.embeddings: NDArray[np.float32] = cache.embeddings(self.texts)
        return Timing(seconds=time.perf_counter() - start, tokens=self.tokens)


class Theirs:
    """`SentenceTransformer.encode` with its defaults, batches of 32 among them; its embeddings are kept in memory."""

    def __init__(self, teacher: Path, texts: Sequence[str], dtype: torch.dtype, tokens: int) -> None:
        from sentence_transformers import SentenceTransformer

        device = None if torch.cuda.is_available() else "cpu"
        self.model = SentenceTransformer(str(teacher), device=device, model_kwargs={"torch_dtype": dtype})
        self.texts, self.tokens = list(texts), tokens
        self.model.encode(self.texts[:WARM_UP])

    def __call__(self) -> Timing:
        start = time.perf_counter()
        self.embeddings = np.asarray(self.model.encode(self.texts, show_progress_bar=False), np.float32)
        return Timing(seconds=time.perf_counter() - start, tokens=self.tokens)
