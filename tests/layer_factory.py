"""An encoder whose layers do unlike things, and texts for it: for what leaves layers out."""

from __future__ import annotations

import numpy as np
import torch

from core.model import EncoderSpec, SentenceEncoder, build

IDS = [[0, *np.random.default_rng(seed).integers(4, 60, 3 + seed % 9).tolist(), 2] for seed in range(40)]


def deep(layers: int) -> SentenceEncoder:
    """Layers that do unlike things; few tokens."""
    encoder = build(EncoderSpec(layers, 16, 4, 32, vocabulary_size=60))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.2 * noise if "LayerNorm.weight" in name else 0.3 * noise)
    return encoder.eval()
