"""Who teaches: one PyTorch checkpoint, or an ensemble of unlike ones, behind the same few questions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from core import manifest
from core.ensemble import EnsembleEncoder
from core.errors import UserError
from core.precision import fastest, running_dtype
from core.pretrained import load_encoder
from core.tokenizer import TextTokenizer, pad
from core.torch_encoder import TorchEncoder
from distill import distributed

Outputs = Mapping[str, NDArray[np.generic]]
TOGETHER = 256  # texts between two steps of an ensemble's progress


class Teacher(Protocol):
    """What caching its targets asks of a teacher."""

    @property
    def digest(self) -> str:
        """Identity of the folder's content."""
        ...

    @property
    def scores(self) -> int:
        """How many leading columns of its output are no part of the embedding that a student imitates."""
        ...

    @property
    def embedding_size(self) -> int:
        """Width of that embedding; 0: it has none."""
        ...

    def key(self, layers: Sequence[int]) -> str:
        """What makes a target, beside the text; `layers`: of the hidden states kept."""
        ...

    def sizes(self, texts: Sequence[str]) -> list[int]:
        """How much work each text is."""
        ...

    def outputs(
        self, texts: Sequence[str], layers: Sequence[int], budget: int, done: Callable[[int], object]
    ) -> Outputs:
        """`embedding` (texts, dim), what the heads read; with `layers` hidden states too.

        budget: padded tokens of one batch; done: is told of the work as it gets done, in `sizes`.
        """
        ...


def open_teacher(folder: Path) -> EncoderTeacher | EnsembleTeacher:
    """Verifies the folder and opens it; UserError where such a checkpoint teaches only inside an ensemble."""
    verified = manifest.read(folder)
    match verified.kind:
        case "torch":
            return EncoderTeacher.open(folder)
        case "ensemble":
            return EnsembleTeacher.open(folder)
        case kind:
            raise UserError(
                f"{folder} is a checkpoint of kind {kind}, which teaches only as a member of an ensemble: write one of"
                f" it with python -m distill.ensemble … ensemble.members=[{folder}]"
            )


def key_of(parts: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


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
        device = "cuda" if torch.cuda.is_available() else "cpu"
        stored = load_encoder(folder)
        model = stored.to(distributed.by_first(lambda: running_dtype(stored.dtype))).to(device)
        return cls(TorchEncoder(model, TextTokenizer.open(folder, verified.max_length)), verified.digest)

    @property
    def embedding_size(self) -> int:
        return self.encoder.model.spec.embedding_size

    @property
    def dtype(self) -> torch.dtype:
        return self.encoder.model.dtype

    @property
    def device(self) -> torch.device:
        return self.encoder.model.transformer.buckets.device

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


@dataclass(frozen=True)
class EnsembleTeacher:
    """Unlike checkpoints together: it has scores and an embedding of its own, and nothing of single tokens."""

    encoder: EnsembleEncoder
    digest: str
    dtype: torch.dtype = torch.float32
    """Of the PyTorch members."""

    @classmethod
    def open(cls, folder: Path) -> EnsembleTeacher:
        """Verifies the folder and loads it; PyTorch members run in BF16 where that is faster, as a stored half would.

        It is judged in the type that it is stored in; a student's targets need no seventh digit.
        """
        verified = manifest.read(folder)
        encoder = EnsembleEncoder.open(folder)
        encoder.use_threads(torch.get_num_threads())
        dtype = distributed.by_first(lambda: fastest((torch.float32, torch.bfloat16)))
        for member in encoder.members:
            if isinstance(member.encoder, TorchEncoder):
                member.encoder.model.to(dtype)
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
