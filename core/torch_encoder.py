"""The PyTorch encoder: length-sorted batches through a SentenceEncoder in its own type."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from core.encoder import PATIENCE
from core.model import SentenceEncoder
from core.precision import running_dtype
from core.tokenizer import TextTokenizer, pad


def in_running_type(model: SentenceEncoder) -> SentenceEncoder:
    """The model in the type that runs its weights fastest on this machine (half-precision weights only)."""
    return model.to(running_dtype(model.dtype))


class TorchEncoder:
    """A SentenceEncoder with its tokenizer."""

    def __init__(self, model: SentenceEncoder, tokenizer: TextTokenizer) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer

    def use_threads(self, threads: int) -> None:
        torch.set_num_threads(threads)

    @property
    def dimension(self) -> int:
        return self.model.spec.embedding_size if self.model.projection is not None else self.model.spec.hidden_size

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        return self.tokenizer.encode(texts)

    def whole(self, text: str, ids: Sequence[int]) -> bool:
        return len(ids) < self.tokenizer.max_length

    @torch.inference_mode()
    def embed(self, tokens: Sequence[Sequence[int]], width: int | None = None) -> NDArray[np.float32]:
        input_ids, mask = (torch.from_numpy(array).to(self.model.device) for array in pad(tokens, width))
        embedding: NDArray[np.float32] = self.model(input_ids, mask).sentence_embedding.float().cpu().numpy()
        return embedding

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> NDArray[np.float32]:
        """(texts, dim) float32, L2-normalised, in the order given; batches of like length, so little is padded."""
        ids = self.tokenise(texts)
        embeddings = np.zeros((len(ids), self.dimension), np.float32)
        order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
        starts = range(0, len(order), batch_size)
        for start in tqdm(starts, desc="encoding", unit="batch", delay=PATIENCE, leave=False, disable=len(starts) == 1):
            chosen = order[start : start + batch_size]
            embeddings[chosen] = self.embed([ids[index] for index in chosen])
        return embeddings
