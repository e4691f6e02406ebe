"""Depthwise-separable convolution over the tokens: each sees its neighbours, at a cost linear in the length."""

from __future__ import annotations

from torch import Tensor, nn

from core.layers import EncoderSpec

KERNEL = 7  # tokens that one token sees in one layer, itself in the middle; n layers reach 3 n tokens each way


class SeparableConvolution(nn.Module):
    """One filter for each channel, then a matrix over the channels.

    Chollet 2017 (Xception, arXiv 1610.02357), who finds nothing gained by an activation between the two; in attention's
    place: Tay et al. 2021 (arXiv 2105.03322) and, with attention after it, QANet (Yu et al. 2018, arXiv 1804.09541).
    """

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        width = spec.hidden_size
        self.depthwise = nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2, groups=width, bias=False)
        self.pointwise = nn.Linear(width, width)

    def forward(self, hidden: Tensor, attention_mask: Tensor) -> Tensor:
        """hidden: (batch, tokens, hidden); attention_mask: (batch, tokens)."""
        # Zeros under the mask are what the convolution itself sees beyond the end: padding changes nothing.
        real = hidden * attention_mask[:, :, None].to(hidden.dtype)
        near = self.depthwise(real.transpose(1, 2)).transpose(1, 2)  # over (batch, hidden, tokens)
        return self.pointwise(near)
