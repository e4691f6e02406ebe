"""Batches of texts of like length, in an order that can be gone on with."""

from __future__ import annotations

import torch
from transformers.trainer_pt_utils import LengthGroupedSampler


class ByLength(LengthGroupedSampler):
    """Batches of like length, in an order that seed and epoch alone decide: a resumed epoch goes on in the same one."""

    def __init__(self, batch_size: int, lengths: list[int], seed: int) -> None:
        super().__init__(batch_size, lengths=lengths, generator=torch.Generator())
        self.seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self.generator.manual_seed(self.seed + epoch)
