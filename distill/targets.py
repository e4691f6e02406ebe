"""Teacher outputs, computed once per text, length-sorted, and cached in shards that an interruption cannot spoil."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from distill import distributed
from distill.allocator import keep_freed_memory
from distill.cache import TargetCache
from distill.encoder_teacher import EncoderTeacher
from distill.teachers import Teacher
from distill.token_states import Layers, TokenStates, encode
from distill.training_set import TokenSource

SHARD_TEXTS = 1024


def hidden_megabytes(teacher: EncoderTeacher, texts: Sequence[str], layers: Sequence[int]) -> float:
    """What the cache of token-level targets of these texts would take, MB."""
    tokens = sum(len(row) for row in teacher.encoder.tokenizer.encode(texts))
    return tokens * len(layers) * teacher.encoder.model.spec.hidden_size * 2 / 1e6


def cache_targets(
    teacher: Teacher, texts: Sequence[str], cache_dir: Path, layers: Sequence[int], tokens_per_batch: int
) -> TargetCache:
    """Computes what the cache lacks, shortest texts first, shard by shard; an interruption loses one shard at most.

    Several processes take the shards in turn and return when all are written, to a folder that they share.
    """
    keep_freed_memory()
    folder = cache_dir / teacher.key(layers)
    folder.mkdir(parents=True, exist_ok=True)
    cache = TargetCache(folder, layers)
    missing = cache.missing(texts)
    distributed.wait()  # all have seen the same ones missing
    sizes = teacher.sizes(missing)
    order = sorted(range(len(sizes)), key=sizes.__getitem__)
    processes = distributed.size()
    texts_each = min(SHARD_TEXTS, max(1, ceil(len(order) / processes)))
    starts = range(0, len(order), texts_each)[distributed.rank() :: processes]
    total = sum(sizes[index] for start in starts for index in order[start : start + texts_each])
    with tqdm(
        total=total, unit_scale=True, desc="teacher targets", disable=not missing or distributed.rank() > 0
    ) as progress:
        for start in starts:
            chosen = [missing[index] for index in order[start : start + texts_each]]
            cache.add(chosen, teacher.outputs(chosen, layers, tokens_per_batch, progress.update))
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


def live_states(teacher: EncoderTeacher) -> TokenSource:
    """Token-level targets from a teacher pass in every step that asks for some."""

    def states(rows: Sequence[int], input_ids: torch.Tensor, mask: torch.Tensor, layers: Layers) -> TokenStates:
        with torch.no_grad(), torch.autocast(teacher.device.type, enabled=False):
            _, found = encode(teacher.encoder.model, input_ids.to(teacher.device), mask.to(teacher.device), layers)
        return found.to(input_ids.device)

    return states
