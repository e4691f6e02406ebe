"""The refusal of a loss or gradient that is not finite, by the texts that it came from."""

from __future__ import annotations

from typing import Literal

import torch
from datasets import Dataset
from torch import Tensor

from core.errors import UserError


def refuse_poison(
    name: str, value: Tensor, rows: Tensor, texts: Dataset, step: int, kind: Literal["training", "validation"]
) -> None:
    """Raises UserError for a scalar that is NaN or infinite, with the step and the hashes of the batch's texts.

    rows: (batch,), their places in `texts`, the texts of this kind.
    """
    if torch.isfinite(value):
        return
    hashes = ", ".join(digest[:12] for digest in texts[rows.tolist()]["text_hash"])
    raise UserError(
        f"the {name} is {value.item()} at step {step}: lower the learning rate, set training.precision=fp32, or mend"
        f" these {kind} texts (SHA-256, first 12 digits): {hashes}"
    )
