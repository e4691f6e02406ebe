"""A Trainer's batches: texts of like length over all processes, and the rows that only fill up an epoch's last one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import Sampler
from transformers import Trainer

from distill import distributed
from distill.by_length import ByLength


class BatchingTrainer(Trainer):
    """A Trainer whose processes draw the batches that one would; `real` in a batch counts its rows, where some fill."""

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        if not self.args.group_by_length:
            return super()._get_train_sampler(train_dataset)
        texts = self.args.train_batch_size * self.args.gradient_accumulation_steps * distributed.size()
        rows = train_dataset or self.train_dataset
        assert isinstance(rows, Dataset)
        return ByLength(texts, [len(ids) for ids in rows["input_ids"]], self.args.seed)

    def _get_eval_sampler(self, eval_dataset: Dataset) -> Sampler | None:
        if distributed.size() == 1 or not self.args.group_by_length:
            return super()._get_eval_sampler(eval_dataset)
        # The Trainer's own draws from the generator that dropout draws from, unlike in each process.
        texts = self.args.eval_batch_size * distributed.size()
        return ByLength(texts, [len(ids) for ids in eval_dataset["input_ids"]], self.args.seed)

    def real_rows(self) -> dict[str, Any]:
        """How many rows of an epoch's last batch, over all processes, are no repetition that fills it up."""
        state = self.accelerator.gradient_state
        short = distributed.size() > 1 and state.end_of_dataloader and state.remainder > 0
        return {"real": state.remainder} if short else {}

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], Tensor | int | None]:
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        if batches:
            batches[-1] |= self.real_rows()  # the state tells of the batch fetched last
        return batches, items
