"""A teacher that is one PyTorch checkpoint, in the type that runs fastest here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from core import manifest
from core.precision import accelerator, running_dtype
from core.pretrained import load_encoder
from core.tokenizer import TextTokenizer, pad
from core.torch_encoder import TorchEncoder
from distill import distributed
from distill.cache import Outputs, key_of


@dataclass(frozen=True)
class EncoderTeacher:
    """A PyTorch checkpoint, in the type that runs fastest here."""

    encoder: TorchEncoder
    digest: str
    scores: int = 0

    @classmethod
    def open(cls, folder: Path) -> EncoderTeacher:
        """Verifies the folder and loads it."""
        verified = manifest.read(folder)
        stored, device = load_encoder(folder), accelerator()
        model = stored.to(device, distributed.by_first(lambda: running_dtype(stored.dtype, device)))
        return cls(TorchEncoder(model, TextTokenizer.open(folder, verified.max_length)), verified.digest)

    @property
    def embedding_size(self) -> int:
        return self.encoder.model.spec.embedding_size

    @property
    def dtype(self) -> torch.dtype:
        return self.encoder.model.dtype

    @property
    def device(self) -> torch.device:
        return self.encoder.model.device

    def key(self, layers: Sequence[int]) -> str:
        """Of weights, tokenizer, length, type, and the layers kept."""
        tokenizer = self.encoder.tokenizer
        return key_of(
            {
                "model": self.digest,
                "tokenizer": tokenizer.hash(),
                "max_length": tokenizer.max_length,
                "dtype": str(self.dtype),
                "hidden_layers": list(layers),
            }
        )

    def sizes(self, texts: Sequence[str]) -> list[int]:
        """In tokens."""
        return [len(ids) for ids in self.encoder.tokenise(texts)]

    @torch.inference_mode()
    def outputs(
        self, texts: Sequence[str], layers: Sequence[int], budget: int, done: Callable[[int], object]
    ) -> Outputs:
        """Embeddings (texts, dim) float32 and, for `layers`, hidden states packed over real tokens."""
        model = self.encoder.model
        ids = self.encoder.tokenise(texts)
        embeddings = np.zeros((len(ids), model.spec.embedding_size), np.float32)
        states: dict[int, NDArray[np.float16]] = {}
        for batch in batches(ids, range(len(ids)), budget):
            input_ids, mask = (torch.from_numpy(array) for array in pad([ids[index] for index in batch]))
            output = model(input_ids.to(self.device), mask.to(self.device), hidden_states=bool(layers))
            embeddings[batch] = output.sentence_embedding.float().cpu().numpy()
            for place, index in enumerate(batch if layers else []):
                kept = [output.hidden_states[layer][place, : len(ids[index])].half().cpu().numpy() for layer in layers]
                states[index] = np.stack(kept, axis=1)  # (tokens, layers, hidden)
            done(int(mask.sum()))
        if not layers:
            return {"embedding": embeddings}
        ends = np.cumsum([len(row) for row in ids])
        return {"embedding": embeddings, "hidden": np.concatenate([states[i] for i in range(len(ids))]), "ends": ends}


def batches(ids: Sequence[Sequence[int]], order: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Runs of `order` whose padded size stays within `budget` tokens."""
    batch: list[int] = []
    width = 0
    for index in order:
        width = max(width, len(ids[index]))
        if batch and width * (len(batch) + 1) > budget:
            yield batch
            batch, width = [], len(ids[index])
        batch.append(index)
    if batch:
        yield batch
