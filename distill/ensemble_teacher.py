"""A teacher that is an ensemble of unlike checkpoints, its PyTorch members in the type that runs fastest here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from core import manifest
from core.ensemble import EnsembleEncoder
from core.precision import accelerator, fastest
from core.torch_encoder import TorchEncoder
from distill import distributed
from distill.cache import Outputs, key_of

TOGETHER = 256  # texts between two steps of progress


@dataclass(frozen=True)
class EnsembleTeacher:
    """Unlike checkpoints together: it has scores and an embedding of its own, and nothing of single tokens."""

    encoder: EnsembleEncoder
    digest: str
    dtype: torch.dtype = torch.float32
    """Of the PyTorch members."""

    @classmethod
    def open(cls, folder: Path) -> EnsembleTeacher:
        """Verifies the folder and loads it; PyTorch members run on the GPU if there is one, and in BF16 where
        that is faster, as a stored half would.

        It is judged in the type that it is stored in; a student's targets need no seventh digit.
        """
        verified = manifest.read(folder)
        encoder = EnsembleEncoder.open(folder)
        encoder.use_threads(torch.get_num_threads())
        device = accelerator()
        dtype = distributed.by_first(lambda: fastest((torch.float32, torch.bfloat16), device))
        for member in encoder.members:
            if isinstance(member.encoder, TorchEncoder):
                member.encoder.model.to(device, dtype)
        return cls(encoder, verified.digest, dtype)

    @property
    def scores(self) -> int:
        return self.encoder.scores

    @property
    def embedding_size(self) -> int:
        return self.encoder.dimension - self.encoder.scores

    def key(self, layers: Sequence[int]) -> str:
        """Of the members' weights, tokenizers and lengths, which the folder's content decides, and of their type."""
        return key_of({"ensemble": self.digest, "dtype": str(self.dtype)})

    def sizes(self, texts: Sequence[str]) -> list[int]:
        """In characters."""
        return [len(text) for text in texts]

    def outputs(
        self, texts: Sequence[str], layers: Sequence[int], budget: int, done: Callable[[int], object]
    ) -> Outputs:
        """The members' scores, then their embeddings (texts, dim) float32; `budget` is of no use to unlike members."""
        assert not layers
        parts = []
        for start in range(0, len(texts), TOGETHER):
            part = texts[start : start + TOGETHER]
            parts.append(self.encoder.encode(part))  # each member batches them by its own lengths
            done(sum(map(len, part)))
        return {"embedding": np.concatenate(parts)}
