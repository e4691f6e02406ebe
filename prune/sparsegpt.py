"""One-shot pruning that makes good what it takes: SparseGPT (Frantar and Alistarh 2023, arXiv 2301.00774).

Matrix by matrix in the order in which a text passes them, on what the matrices before it, already pruned, give it. The
columns of a matrix are gone through one after another; what a weight would have added is made good by the columns that
are still to come, as far as these see the same. Three things differ from the paper:
- The zeros of a matrix are shared out among its columns by what each costs at that point, not evenly among blocks of
  128, since inputs differ much in their use; and among its rows, and with `scope: global` among the matrices, by how
  far an error of that output moves the logits (the diagonal of the Gauss-Newton matrix; Optimal BERT Surgeon has the
  empirical Fisher, Kurtic et al. 2022, arXiv 2203.07259).
- In the end each row is the least-squares answer for the places that it has left.
- Errors are measured on the covariance of the inputs: the bias makes their mean good.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from core import parametrised
from core.heads import LinearHead
from core.masks import largest_kept
from core.model import SentenceEncoder
from core.moments import Moments, Sums
from core.schema.pruning import PrunedWeights
from prune.objective import Batch

DAMPING = 0.01  # of the mean variance, as in the paper
TOGETHER = 64  # columns that are chosen from together, and after which the rest of the matrix hears of their errors
SOLVED = 2e7  # numbers of the systems of least squares that are solved together


@dataclass(frozen=True)
class _States:
    """What enters a layer, (texts, tokens, hidden), and which of it are tokens, (texts, tokens)."""

    hidden: Tensor
    bias: Tensor
    tokens: Tensor


@dataclass(frozen=True)
class _Matrix:
    """What is known of a linear's inputs and outputs."""

    mean: Tensor  # (inputs,) float64
    covariance: Tensor  # (inputs, inputs) float64, damped

    @staticmethod
    def of(moments: Moments) -> _Matrix:
        mean, covariance = moments.mean, moments.covariance
        damping = max(DAMPING * float(covariance.diagonal().mean()), torch.finfo(torch.float32).tiny)
        return _Matrix(mean, covariance + damping * torch.eye(len(mean), dtype=torch.float64))

    def spread(self) -> Tensor:
        """(inputs, inputs) float32: row by row, how the columns still to come make an error good; upper triangular."""
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(self.covariance))
        return torch.linalg.cholesky(inverse, upper=True).float()


def zeroed(
    encoder: SentenceEncoder,
    heads: Mapping[str, LinearHead],
    settings: PrunedWeights,
    batches: Sequence[Batch],
) -> SentenceEncoder:
    """A copy of the encoder in which round(ratio * number) weights of its layers' matrices, or of each, are zero.

    Those that are zero already count among them. batches: of the calibration texts, as the layers read them.
    """
    pruned = copy.deepcopy(encoder).eval()
    importance = importance_of_outputs(pruned, heads, batches)
    zeros = _shared_out(pruned, importance, settings, batches)
    with torch.no_grad():
        for number, states in _layer_by_layer(pruned, batches):
            layer = pruned.transformer.encoder.layer[number]
            inputs = _inputs(layer, states)
            for name, linear in parametrised.linears(layer).items():
                key = f"{number}.{name}"
                _prune(linear, zeros[key], importance[key], _Matrix.of(inputs[name]))
    return pruned


def importance_of_outputs(
    encoder: SentenceEncoder, heads: Mapping[str, LinearHead], batches: Sequence[Batch]
) -> dict[str, Tensor]:
    """How far an error in each output of each linear moves the logits: mean square of the derivative, (outputs,).

    By linear, `<layer>.<name>`. Sums over all logits are estimated with random signs (Hutchinson's estimator).
    """
    generator = torch.Generator().manual_seed(0)
    rows = torch.cat([torch.tensor(head.weight) for head in heads.values()])  # (logits, dim)
    linears = parametrised.linears(encoder.transformer.encoder.layer)
    sums = {name: torch.zeros(linear.out_features, dtype=torch.float64) for name, linear in linears.items()}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], tuple[Tensor, ...]], None]:
        def add(_: nn.Module, __: tuple[Tensor, ...], gradients: tuple[Tensor, ...]) -> None:
            sums[name] += gradients[0].double().square().sum(tuple(range(gradients[0].dim() - 1)))

        return add

    hooks = [linear.register_full_backward_hook(watch(name)) for name, linear in linears.items()]
    tokens = 0
    for batch in tqdm(batches, "importance of outputs", leave=False):
        embedding = encoder(batch.input_ids, batch.mask).sentence_embedding
        signs = torch.randint(0, 2, (len(embedding), len(rows)), generator=generator).float() * 2 - 1
        (embedding * (signs @ rows)).sum().backward()
        tokens += int(batch.mask.sum())
    for hook in hooks:
        hook.remove()
    encoder.zero_grad()
    return {name: (total / tokens).float() for name, total in sums.items()}


@torch.no_grad()
def _shared_out(
    encoder: SentenceEncoder, importance: Mapping[str, Tensor], settings: PrunedWeights, batches: Sequence[Batch]
) -> dict[str, int]:
    """How many zeros each linear gets: the same share, or by what weights cost while all others are there."""
    linears = parametrised.linears(encoder.transformer.encoder.layer)
    if settings.scope == "layer":
        return {name: round(settings.ratio * linear.weight.numel()) for name, linear in linears.items()}
    costs = {}
    for number, states in _layer_by_layer(encoder, batches):
        layer = encoder.transformer.encoder.layer[number]
        for name, moments in _inputs(layer, states).items():
            key = f"{number}.{name}"
            cost = _Matrix.of(moments).spread().diagonal().square()
            costs[key] = linears[key].weight.square() / cost * importance[key][:, None]
    kept = largest_kept(costs, settings.ratio, "global")
    return {name: int((~mask).sum()) for name, mask in kept.items()}


def _layer_by_layer(encoder: SentenceEncoder, batches: Sequence[Batch]) -> Iterator[tuple[int, list[_States]]]:
    """Each layer's place with what enters it, by the layers before it as they then are."""
    transformer = encoder.transformer
    states = [
        _States(transformer.embeddings(batch.input_ids), transformer.bias(batch.mask), batch.mask.bool())
        for batch in batches
    ]
    for number, layer in enumerate(tqdm(transformer.encoder.layer, "sparsegpt", unit="layer", leave=False)):
        yield number, states
        states = [_States(layer(part.hidden, part.bias), part.bias, part.tokens) for part in states]


def _inputs(layer: nn.Module, states: Sequence[_States]) -> dict[str, Moments]:
    """Of what enters each linear of the layer, by its name; padding does not count."""
    linears = parametrised.linears(layer)
    sums = {name: Sums() for name in linears}

    def watch(name: str, tokens: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, given: sums[name].add(given[0][tokens])

    for part in states:
        hooks = [linear.register_forward_pre_hook(watch(name, part.tokens)) for name, linear in linears.items()]
        layer(part.hidden, part.bias)
        for hook in hooks:
            hook.remove()
    return {name: one.moments() for name, one in sums.items()}


def _prune(linear: nn.Linear, zeros: int, importance: Tensor, known: _Matrix) -> None:
    """Zeros in the weight, in place; what the mean input loses by them goes into the bias."""
    old = linear.weight.detach().clone()
    new = refitted(old, chosen(old, zeros, importance, known.spread()), known.covariance)
    linear.weight.copy_(new)
    linear.bias.add_(((old - new).double() @ known.mean).float())


def chosen(weight: Tensor, zeros: int, importance: Tensor, spread: Tensor) -> Tensor:
    """The places that stay, all but `zeros` of them: boolean, as the weight.

    weight: (outputs, inputs); importance: (outputs,); spread: upper Cholesky factor of the inverse covariance.
    """
    cost = spread.diagonal().square()  # of taking a weight w: w² / cost
    rows = importance.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
    rest, there, stays = weight.clone(), weight != 0, torch.ones_like(weight, dtype=torch.bool)
    left = zeros
    for begin in range(0, weight.shape[1], TOGETHER):
        end = min(begin + TOGETHER, weight.shape[1])
        saliency = (rest[:, begin:].square() / cost[begin:] * rows).masked_fill(~there[:, begin:], -1.0)
        if left < saliency.numel():
            kept = largest_kept({"": saliency}, left / saliency.numel(), "layer")[""][:, : end - begin]
        else:
            kept = torch.zeros(len(weight), end - begin, dtype=torch.bool)  # all that is left goes
        errors = torch.empty(len(weight), end - begin)
        for column in range(begin, end):
            errors[:, column - begin] = rest[:, column].where(~kept[:, column - begin], 0.0) / spread[column, column]
            rest[:, column:end] -= torch.outer(errors[:, column - begin], spread[column, column:end])
        rest[:, end:] -= errors @ spread[begin:end, end:]
        stays[:, begin:end] = kept
        left -= int((~kept).sum())
    return stays


def refitted(weight: Tensor, stays: Tensor, covariance: Tensor) -> Tensor:
    """The weight with zeros where nothing `stays`, and there the values that come nearest to the old outputs.

    Least squares, row by row: of w with zeros, (w - old) covariance (w - old) is the smallest.
    """
    new = torch.zeros_like(weight)
    counts, target = stays.sum(1), weight.double() @ covariance  # (outputs,), (outputs, inputs)
    order = counts.argsort()
    begin = 0
    while begin < len(order):
        fits = max(1, int(SOLVED / max(1, int(counts[order[min(begin + 255, len(order) - 1)]])) ** 2))
        rows = order[begin : begin + min(256, fits)]
        begin += len(rows)
        most = int(counts[rows].max())
        if not most:
            continue
        places = stays[rows].float().argsort(dim=1, descending=True, stable=True)[:, :most]  # those that stay first
        real = torch.arange(most)[None] < counts[rows, None]
        systems = covariance[places[:, :, None], places[:, None, :]]
        systems = systems.where(real[:, :, None] & real[:, None, :], torch.eye(most, dtype=systems.dtype))
        wanted = target[rows[:, None], places].where(real, 0.0)
        solved = torch.cholesky_solve(wanted[:, :, None], torch.linalg.cholesky(systems))[:, :, 0]
        new[rows[:, None], places] = solved.where(real, 0.0).float()
    return new
