"""An encoder without one of its layers, for each of them, at the price of few passes; what layer searches measure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from core.encoder import PATIENCE
from core.model import SentenceEncoder
from core.tokenizer import pad

TOGETHER = 32  # texts in a batch

Batch = tuple[Tensor, Tensor]  # input_ids, attention_mask; (texts, tokens) int64 each


@torch.no_grad()
def batches_by_length(encoder: SentenceEncoder, ids: Sequence[Sequence[int]]) -> tuple[list[Batch], NDArray[np.int64]]:
    """What the layers read of texts, those of like length together, and the places in `ids` of the texts in this order.

    Where the encoder reads excerpts of long texts, these are taken here already; to take them again changes nothing.
    """
    device = next(encoder.parameters()).device
    order = np.array(sorted(range(len(ids)), key=lambda place: len(ids[place])), np.int64)
    found = []
    for start in range(0, len(order), TOGETHER):
        input_ids, mask = pad([ids[place] for place in order[start : start + TOGETHER]])
        batch = torch.from_numpy(input_ids).to(device), torch.from_numpy(mask).to(device)
        found.append(batch if encoder.reading is None else encoder.reading(*batch))
    return found, order


@torch.inference_mode()
def without_each(encoder: SentenceEncoder, kept: Sequence[int], batches: Sequence[Batch]) -> NDArray[np.float32]:
    """The texts' embeddings by the `kept` layers without one of them, for each: (kept, texts, dim).

    kept: layers, from 0, rising; batches: from `batches_by_length`. What lies below the layer left out is computed
    once.
    """
    stack, parts = encoder.transformer.encoder.layer, []
    for input_ids, mask in tqdm(batches, f"{len(kept)} layers, each left out", delay=PATIENCE, leave=False):
        bias = encoder.transformer.bias(mask)
        before = encoder.transformer.embeddings(input_ids)  # (texts, tokens, hidden), ahead of the layer left out
        embeddings = []
        for place, layer in enumerate(kept):
            states = before
            for later in kept[place + 1 :]:
                states = stack[later](states, bias)
            embeddings.append(encoder.pool(states, mask))
            before = stack[layer](before, bias)
        parts.append(torch.stack(embeddings))
    stacked: NDArray[np.float32] = torch.cat(parts, dim=1).float().cpu().numpy()
    return stacked
