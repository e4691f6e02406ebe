"""Teacher outputs, computed once per text, length-sorted, and cached in shards that an interruption cannot spoil."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from core import manifest
from core.precision import running_dtype
from core.pretrained import load_encoder
from core.tokenizer import TextTokenizer, pad
from core.torch_encoder import TorchEncoder
from distill import distributed
from distill.cache import TargetCache
from distill.token_states import Layers, TokenStates, encode
from distill.training_set import TokenSource

SHARD_TEXTS = 1024


@dataclass(frozen=True)
class Teacher:
    """A teacher checkpoint opened for inference."""

    encoder: TorchEncoder
    digest: str
    """Identity of the folder's content."""

    @classmethod
    def open(cls, folder: Path) -> Teacher:
        """Verifies the folder and loads it in the type that runs fastest here."""
        verified = manifest.read(folder)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        stored = load_encoder(folder)
        model = stored.to(distributed.by_first(lambda: running_dtype(stored.dtype))).to(device)
        return cls(TorchEncoder(model, TextTokenizer.open(folder, verified.max_length)), verified.digest)

    @property
    def dtype(self) -> torch.dtype:
        return self.encoder.model.dtype

    @property
    def device(self) -> torch.device:
        return self.encoder.model.transformer.buckets.device

    def key(self, layers: Sequence[int]) -> str:
        """What made a target, beside the text: weights, tokenizer, length, type, and the hidden states kept."""
        tokenizer = self.encoder.tokenizer
        parts = {
            "model": self.digest,
            "tokenizer": tokenizer.hash(),
            "max_length": tokenizer.max_length,
            "dtype": str(self.dtype),
            "hidden_layers": list(layers),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _batches(ids: Sequence[Sequence[int]], order: Sequence[int], budget: int) -> Iterator[list[int]]:
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


@torch.inference_mode()
def _compute(
    teacher: Teacher, ids: Sequence[Sequence[int]], layers: Sequence[int], budget: int, progress: tqdm
) -> dict[str, NDArray[np.generic]]:
    """Embeddings (texts, dim) float32 and, for `layers`, hidden states packed over real tokens."""
    model = teacher.encoder.model
    embeddings = np.zeros((len(ids), model.spec.embedding_size), np.float32)
    states: dict[int, NDArray[np.float16]] = {}
    for batch in _batches(ids, range(len(ids)), budget):
        input_ids, mask = (torch.from_numpy(array) for array in pad([ids[index] for index in batch]))
        output = model(input_ids.to(teacher.device), mask.to(teacher.device), hidden_states=bool(layers))
        embeddings[batch] = output.sentence_embedding.float().cpu().numpy()
        for place, index in enumerate(batch if layers else []):
            kept = [output.hidden_states[layer][place, : len(ids[index])].half().cpu().numpy() for layer in layers]
            states[index] = np.stack(kept, axis=1)  # (tokens, layers, hidden)
        progress.update(int(mask.sum()))
    if not layers:
        return {"embedding": embeddings}
    ends = np.cumsum([len(row) for row in ids])
    return {"embedding": embeddings, "hidden": np.concatenate([states[i] for i in range(len(ids))]), "ends": ends}


def hidden_megabytes(teacher: Teacher, texts: Sequence[str], layers: Sequence[int]) -> float:
    """What the cache of token-level targets of these texts would take, MB."""
    tokens = sum(len(row) for row in teacher.encoder.tokenizer.encode(texts))
    return tokens * len(layers) * teacher.encoder.model.spec.hidden_size * 2 / 1e6


def cache_targets(
    teacher: Teacher, texts: Sequence[str], cache_dir: Path, layers: Sequence[int], tokens_per_batch: int
) -> TargetCache:
    """Computes what the cache lacks, shortest texts first, shard by shard; an interruption loses one shard at most.

    Several processes take the shards in turn and return when all are written, to a folder that they share.
    """
    folder = cache_dir / teacher.key(layers)
    folder.mkdir(parents=True, exist_ok=True)
    cache = TargetCache(folder, layers)
    missing = cache.missing(texts)
    distributed.wait()  # all have seen the same ones missing
    ids = teacher.encoder.tokenizer.encode(missing)
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    processes = distributed.size()
    texts_each = min(SHARD_TEXTS, max(1, ceil(len(order) / processes)))
    starts = range(0, len(order), texts_each)[distributed.rank() :: processes]
    total = sum(len(ids[index]) for start in starts for index in order[start : start + texts_each])
    with tqdm(
        total=total, unit="tok", unit_scale=True, desc="teacher targets", disable=not missing or distributed.rank() > 0
    ) as progress:
        for start in starts:
            chosen = order[start : start + texts_each]
            arrays = _compute(teacher, [ids[index] for index in chosen], layers, tokens_per_batch, progress)
            cache.add([missing[index] for index in chosen], arrays)
    distributed.wait()
    return TargetCache(folder, layers) if processes > 1 else cache  # with the others' shards


def cached_states(cache: TargetCache, texts: Sequence[str]) -> TokenSource:
    """Hidden states read from the cache, of the layers it was made for."""

    def states(rows: Sequence[int], input_ids: torch.Tensor, mask: torch.Tensor, layers: Layers) -> TokenStates:
        assert layers.hidden == cache.layers
        blocks = [cache.hidden(texts[row]) for row in rows]  # each (layers, tokens, hidden)
        count, _, hidden = blocks[0].shape
        padded = np.zeros((count, len(rows), input_ids.shape[1], hidden), np.float16)
        for place, block in enumerate(blocks):
            padded[:, place, : block.shape[1]] = block
        return TokenStates(hidden=torch.from_numpy(padded).to(input_ids.device))

    return states


def live_states(teacher: Teacher) -> TokenSource:
    """Token-level targets from a teacher pass in every step that asks for some."""

    def states(rows: Sequence[int], input_ids: torch.Tensor, mask: torch.Tensor, layers: Layers) -> TokenStates:
        with torch.no_grad(), torch.autocast(teacher.device.type, enabled=False):
            _, found = encode(teacher.encoder.model, input_ids.to(teacher.device), mask.to(teacher.device), layers)
        return found.to(input_ids.device)

    return states
