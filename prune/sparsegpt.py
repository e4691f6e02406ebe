"""One-shot pruning that makes good what it takes: SparseGPT (Frantar and Alistarh 2023, arXiv 2301.00774).

Matrix by matrix in the order in which a text passes them, on what the matrices before it, already pruned, give it. The
columns of a matrix are gone through one after another; what a weight would have added is made good by the columns that
are still to come, as far as these see the same, and its mean by the bias. Two things differ from the paper: the zeros
of a matrix are shared out among its columns by what each costs at that point, not evenly among blocks of 128, since
inputs differ much in their use; and errors are measured on the covariance of the inputs, as the bias takes care of
their mean.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from core import parametrised
from core.layers import Layer
from core.masks import largest_kept
from core.model import SentenceEncoder
from prune.objective import Batch

DAMPING = 0.01  # of the mean variance, as in the paper
TOGETHER = 64  # columns that are chosen from together, and after which the rest of the matrix hears of their errors


@dataclass(frozen=True)
class _States:
    """What enters a layer, (texts, tokens, hidden), and which of it are tokens, (texts, tokens)."""

    hidden: Tensor
    bias: Tensor
    tokens: Tensor


@torch.no_grad()
def zeroed(encoder: SentenceEncoder, ratio: float, batches: Sequence[Batch]) -> SentenceEncoder:
    """A copy of the encoder in which round(ratio * number) weights of each of the layers' matrices are zero.

    Those that are zero already count among them. batches: of the calibration texts, as the layers read them.
    """
    pruned = copy.deepcopy(encoder).eval()
    transformer = pruned.transformer
    states = [
        _States(transformer.embeddings(batch.input_ids), transformer.bias(batch.mask), batch.mask.bool())
        for batch in batches
    ]
    for layer in tqdm(transformer.encoder.layer, "sparsegpt", unit="layer", leave=False):
        assert isinstance(layer, Layer)
        inputs = _inputs(layer, states)
        for name, linear in parametrised.linears(layer).items():
            _prune(linear, ratio, *inputs[name].mean_and_covariance())
        states = [_States(layer(part.hidden, part.bias), part.bias, part.tokens) for part in states]
    return pruned


class _Sums:
    """Rows added up as they come."""

    def __init__(self, width: int) -> None:
        self.rows = 0
        self.first = torch.zeros(width, dtype=torch.float64)
        self.second = torch.zeros(width, width, dtype=torch.float64)

    def add(self, rows: Tensor) -> None:
        """rows: (tokens of a batch, inputs) float32, few enough for their squares to be summed in that."""
        self.rows += len(rows)
        self.first += rows.double().sum(0)
        self.second += (rows.T @ rows).double()

    def mean_and_covariance(self) -> tuple[Tensor, Tensor]:
        mean = self.first / self.rows
        return mean, self.second / self.rows - torch.outer(mean, mean)


def _inputs(layer: Layer, states: Sequence[_States]) -> dict[str, _Sums]:
    """Of what enters each linear of the layer, by its name; padding does not count."""
    linears = parametrised.linears(layer)
    sums = {name: _Sums(linear.in_features) for name, linear in linears.items()}

    def watch(name: str, tokens: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, given: sums[name].add(given[0][tokens])

    for part in states:
        hooks = [linear.register_forward_pre_hook(watch(name, part.tokens)) for name, linear in linears.items()]
        layer(part.hidden, part.bias)
        for hook in hooks:
            hook.remove()
    return sums


def _prune(linear: nn.Linear, ratio: float, mean: Tensor, covariance: Tensor) -> None:
    """Zeros in the weight, in place; what the mean input loses by them goes into the bias."""
    old = linear.weight.detach().clone()
    new = reconstructed(old, ratio, covariance)
    linear.weight.copy_(new)
    linear.bias.add_(((old - new).double() @ mean).float())


def reconstructed(weight: Tensor, ratio: float, covariance: Tensor) -> Tensor:
    """The weight with round(ratio * number) zeros, the others changed to make good what is missing.

    weight: (outputs, inputs) float32; covariance of the inputs: (inputs, inputs) float64.
    """
    damping = max(DAMPING * float(covariance.diagonal().mean()), torch.finfo(torch.float32).tiny)
    inverse = torch.cholesky_inverse(
        torch.linalg.cholesky(covariance + damping * torch.eye(len(covariance), dtype=covariance.dtype))
    )
    spread = torch.linalg.cholesky(inverse, upper=True).float()  # row by row, how what is still to come makes good
    cost = spread.diagonal().square()  # of taking a weight w: w² / cost
    rest, there = weight.clone(), weight != 0
    to_go = round(ratio * weight.numel())
    for begin in range(0, weight.shape[1], TOGETHER):
        end = min(begin + TOGETHER, weight.shape[1])
        saliency = rest[:, begin:].square() / cost[begin:]
        kept = largest_kept({"": saliency.masked_fill(~there[:, begin:], -1.0)}, to_go / saliency.numel(), "layer")[""]
        kept = kept[:, : end - begin]
        errors = torch.empty(len(weight), end - begin)
        for column in range(begin, end):
            place = column - begin
            errors[:, place] = rest[:, column].where(~kept[:, place], 0.0) / spread[column, column]
            rest[:, column:end] -= torch.outer(errors[:, place], spread[column, column:end])
            rest[:, column].masked_fill_(~kept[:, place], 0.0)  # exactly
        rest[:, end:] -= errors @ spread[begin:end, end:]
        to_go -= int((~kept).sum())
    return rest
