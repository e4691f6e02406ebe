"""Factors of 1 on what enters a matrix, one for each text and unit: their gradient is gradient times activation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from tqdm import tqdm

from core.encoder import PATIENCE
from core.layers import Layer
from core.model import SentenceEncoder
from prune.objective import Batch, Objective


def outputs_of_heads(encoder: SentenceEncoder) -> list[nn.Linear]:
    """The matrix of each layer whose inputs are its heads' outputs side by side."""
    return [layer.attention.attn.o for layer in _layers(encoder)]


def outputs_of_neurons(encoder: SentenceEncoder) -> list[nn.Linear]:
    """The matrix of each layer whose inputs are its feed-forward neurons."""
    return [layer.output.dense for layer in _layers(encoder)]


@contextmanager
def factors(matrices: Sequence[nn.Linear], gates: Sequence[Tensor]) -> Iterator[None]:
    """While it lasts, the inputs of each matrix are multiplied by its gates, (texts or 1, units) for each.

    Inputs (texts, tokens, width) are cut into as many units of equal width as there are gates.
    """

    def multiply(module: nn.Module, inputs: tuple[Tensor], gate: Tensor) -> tuple[Tensor]:
        units = inputs[0].unflatten(-1, (gate.shape[1], -1))  # (texts, tokens, units, width of one)
        return ((units * gate[:, None, :, None]).flatten(-2),)

    hooks = [
        matrix.register_forward_pre_hook(partial(multiply, gate=gate))
        for matrix, gate in zip(matrices, gates, strict=True)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def gradients(
    encoder: SentenceEncoder,
    matrices: Sequence[nn.Linear],
    units: Sequence[int],
    batches: Sequence[Batch],
    objective: Objective,
) -> list[Tensor]:
    """The derivative of each text's loss by each gate: (texts, units) for each matrix."""
    parts: list[list[Tensor]] = [[] for _ in matrices]
    encoder.eval().requires_grad_(False)
    for batch in tqdm(batches, "importance", delay=PATIENCE, leave=False):
        gates = [torch.ones(len(batch.mask), number, requires_grad=True) for number in units]
        with factors(matrices, gates):
            embedding = encoder(batch.input_ids, batch.mask).sentence_embedding
        found = torch.autograd.grad(objective(embedding, batch.labels).sum(), gates)
        for part, gradient in zip(parts, found, strict=True):
            part.append(gradient)
    encoder.requires_grad_(True)
    return [torch.cat(part) for part in parts]


@torch.no_grad()
def sizes(encoder: SentenceEncoder, matrices: Sequence[nn.Linear], batches: Sequence[Batch]) -> list[Tensor]:
    """Root mean square over real tokens of what enters each matrix: (inputs,) for each."""
    squares = [torch.zeros(matrix.in_features) for matrix in matrices]
    tokens = 0
    for batch in tqdm(batches, "activations", delay=PATIENCE, leave=False):
        real = batch.mask.bool()

        def add(module: nn.Module, inputs: tuple[Tensor], total: Tensor, real: Tensor = real) -> None:
            total += inputs[0][real].square().sum(0)

        hooks = [
            matrix.register_forward_pre_hook(partial(add, total=total))
            for matrix, total in zip(matrices, squares, strict=True)
        ]
        try:
            encoder(batch.input_ids, batch.mask)
        finally:
            for hook in hooks:
                hook.remove()
        tokens += int(real.sum())
    return [(total / tokens).sqrt() for total in squares]


def _layers(encoder: SentenceEncoder) -> list[Layer]:
    return [layer for layer in encoder.transformer.encoder.layer if isinstance(layer, Layer)]
