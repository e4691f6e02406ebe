"""What the layers read of a long text: its first tokens, its last, and the stretch between that weighs most."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.spec import Excerpt

HEAVIEST = 255  # of a token: weights are whole numbers, so that sums are exact and every runtime picks the same stretch


class Reading(nn.Module):
    """Token ids to those of the excerpt: a text of `tokens` tokens or fewer whole, a longer one by its weights.

    The stretch is the one of `stretch` neighbouring tokens with the largest sum of weights; of equal ones the first.
    Choosing where a model looks by a cheap look at everything is hard attention by a linear model; compare head+tail
    truncation (Sun et al. 2019, arXiv 1905.05583), which takes the end of every text instead.
    """

    token_weights: Tensor

    def __init__(self, excerpt: Excerpt, vocabulary_size: int) -> None:
        super().__init__()
        self.excerpt = excerpt
        self.register_buffer("token_weights", torch.zeros(vocabulary_size, dtype=torch.uint8))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, tokens) int64 each, padded on the right -> (batch, at most `excerpt.tokens`) each."""
        most, first, stretch = self.excerpt.tokens, self.excerpt.first, self.excerpt.stretch
        if input_ids.shape[1] <= most:
            return input_ids, attention_mask
        lengths = attention_mask.sum(1, keepdim=True)  # (batch, 1)
        weights = self.token_weights[input_ids].int() * attention_mask.int()
        sums = weights[:, first:].unfold(1, stretch, 1).sum(-1)  # (batch, places of the stretch)
        start = sums.argmax(1, keepdim=True)  # the first of the largest: never one that reaches into the padding
        place = torch.arange(most, device=input_ids.device)
        chosen = place + start * (place >= first)
        chosen = torch.where(place == most - 1, lengths - 1, chosen)
        chosen = torch.where(lengths > most, chosen, place)  # (batch, most)
        return input_ids.gather(1, chosen), (place < lengths).to(attention_mask.dtype)
