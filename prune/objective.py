"""What a text costs the linear heads of a checkpoint: the loss whose gradient says what matters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from core.heads import LinearHead
from core.layer_subsets import batches_by_length
from core.model import SentenceEncoder
from core.rows import IGNORED, Rows, Taxonomy
from core.tokenizer import TextTokenizer


@dataclass(frozen=True)
class Batch:
    """Labelled texts of like length."""

    input_ids: Tensor  # (texts, tokens) int64
    mask: Tensor  # (texts, tokens) int64
    labels: Mapping[str, Tensor]  # binary, family, subfamily: (texts,) int64; `IGNORED` for benign texts' families


def labelled_batches(encoder: SentenceEncoder, rows: Rows, taxonomy: Taxonomy, tokenizer: TextTokenizer) -> list[Batch]:
    """All rows; UserError where their families are not those that the checkpoint knows."""
    targets = taxonomy.targets(rows)
    found, order = batches_by_length(encoder, tokenizer.encode(rows.texts))
    places = iter(torch.from_numpy(order).split([len(input_ids) for input_ids, _ in found]))
    names = ("binary", "family", "subfamily")
    return [
        Batch(*batch, _labels(dict(zip(names, map(torch.from_numpy, targets), strict=True)), next(places)))
        for batch in found
    ]


def _labels(targets: Mapping[str, Tensor], places: Tensor) -> dict[str, Tensor]:
    return {name: target[places] for name, target in targets.items()}


class Objective:
    """Cross-entropy of binary, family and sub-family heads on an embedding, as a student is trained on."""

    def __init__(self, heads: Mapping[str, LinearHead], family_weight: float, subfamily_weight: float) -> None:
        self.heads = {name: (torch.tensor(head.weight), torch.tensor(head.bias)) for name, head in heads.items()}
        self.weights = {"family": family_weight, "subfamily": subfamily_weight}

    def __call__(self, embedding: Tensor, labels: Mapping[str, Tensor]) -> Tensor:
        """(texts, dim) -> (texts,)."""
        logits = {name: functional.linear(embedding, *parts) for name, parts in self.heads.items()}
        binary = logits["binary"][:, 0]
        loss = functional.binary_cross_entropy_with_logits(binary, labels["binary"].to(binary.dtype), reduction="none")
        for name, weight in self.weights.items():
            terms = functional.cross_entropy(logits[name], labels[name], ignore_index=IGNORED, reduction="none")
            loss = loss + weight * terms
        return loss
