"""Tokenised rows, labelled or not, their integer targets and what the teacher says of them, in batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor

from core.rows import IGNORED, Rows, Taxonomy, text_hash
from core.tokenizer import TextTokenizer, pad
from distill.classifier import Logits
from distill.token_states import NO_PLAN, LayerPlan, Layers, TokenStates

TokenSource = Callable[[Sequence[int], Tensor, Tensor, Layers], TokenStates]
"""(row numbers, input_ids, attention_mask, the teacher's layers) -> the teacher's token-level states."""


@dataclass(frozen=True)
class TeacherTargets:
    """What the teacher says of the training or validation rows, in their order."""

    embedding: Tensor  # (rows, dim)
    logits: Logits  # of the teacher's heads
    tokens: TokenSource | None = None
    plan: LayerPlan = NO_PLAN
    """The layers that `tokens` is to be asked for."""

    def of(self, rows: Tensor) -> tuple[Tensor, Logits]:
        """Embeddings and logits of some rows, on the device of `rows`."""
        here = rows.cpu()
        parts = (self.logits.binary, self.logits.family, self.logits.subfamily)
        return self.embedding[here].to(rows.device), Logits(*(part[here].to(rows.device) for part in parts))


@dataclass(frozen=True)
class TrainingSet:
    """Tokenised rows with integer targets and, in distillation, the teacher's.

    A benign row's family and sub-family are `IGNORED`; of a text without labels `binary` is, too.
    """

    data: Dataset
    targets: TeacherTargets | None = None

    @classmethod
    def of(
        cls,
        rows: Rows,
        taxonomy: Taxonomy,
        tokenizer: TextTokenizer,
        targets: TeacherTargets | None = None,
        unlabelled: Sequence[str] = (),
    ) -> TrainingSet:
        """The labelled rows, then the texts without labels; `targets` are of all of them, in this order."""
        texts = [*rows.texts, *unlabelled]
        if targets is not None and len(targets.embedding) != len(texts):
            raise ValueError(f"the teacher judged {len(targets.embedding)} texts, to be trained on are {len(texts)}")
        columns = {"input_ids": tokenizer.encode(texts), "row": list(range(len(texts)))}
        columns["text_hash"] = [text_hash(text) for text in texts]  # to name the texts of a batch that fails
        for name, known in zip(("binary", "family", "subfamily"), taxonomy.targets(rows), strict=True):
            columns[name] = [*known.tolist(), *[IGNORED] * len(unlabelled)]
        return cls(Dataset.from_dict(columns), targets)


def collate(features: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """Pads to the longest text of the batch."""
    input_ids, mask = pad([feature["input_ids"] for feature in features])
    batch = {"input_ids": torch.from_numpy(input_ids), "attention_mask": torch.from_numpy(mask)}
    return batch | {
        name: torch.tensor([feature[name] for feature in features]) for name in ("row", "binary", "family", "subfamily")
    }
