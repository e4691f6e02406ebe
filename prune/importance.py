"""Which layers, heads and neurons go: pure arithmetic on their scores."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def michel(gradients: Tensor) -> Tensor:
    """Mean size over texts of gradient times activation: (texts, units) -> (units,).

    Michel et al. 2019 (arXiv 1905.10650), equation 3: a sum over texts would let their signs cancel.
    """
    return gradients.abs().mean(0)


def taylor(gradients: Tensor) -> Tensor:
    """Mean square over texts of the same: (texts, units) -> (units,).

    Squared first-order Taylor term of a gate (Molchanov et al. 2019, arXiv 1906.10771), the diagonal of the gates'
    empirical Fisher information (Kwon et al. 2022, arXiv 2204.09656): comparable between layers as it is.
    """
    return gradients.square().mean(0)


def per_layer(scores: Tensor) -> Tensor:
    """Divided by the layer's L2 norm, as Michel et al. do before layers are compared; zeros stay zeros."""
    return scores / scores.norm().clamp(min=torch.finfo(scores.dtype).tiny)


def best(scores: Tensor, keep: int) -> list[int]:
    """The `keep` units of the highest scores, rising; of equal ones the first: (units,) -> places."""
    return sorted(_ranked(scores)[:keep])


def best_of_all(scores: Sequence[Tensor], keep: int) -> list[list[int]]:
    """The units that each layer keeps, rising, where `keep` stay altogether; the best of each layer stays anyway.

    scores: (units,) of each layer; keep: at least one for each layer, at most all. Of equal ones the first stay.
    """
    kept = [_ranked(layer)[:1] for layer in scores]
    rest = [
        (-value, number, unit)
        for number, layer in enumerate(scores)
        for unit, value in enumerate(layer.tolist())
        if unit != kept[number][0]
    ]
    for _, number, unit in sorted(rest)[: keep - len(kept)]:
        kept[number].append(unit)
    return [sorted(layer) for layer in kept]


def rounded(count: float, width: int, multiple: int) -> int:
    """The nearest multiple to `count`, at least one of them and at most `width`."""
    return min(max(multiple, round(count / multiple) * multiple), width)


def alternate(layers: int, remove: int) -> list[int]:
    """The layers, from 0, that go: every second from the last but one down, and again among what is then left.

    Odd alternate dropping of Sajjad et al. 2020 (arXiv 2004.03844): of 12 and 4 to go, counted from 1, 11, 9, 7 and 5.
    """
    left, gone = list(range(layers)), list[int]()
    while len(gone) < remove:
        chosen = left[-2::-2][: remove - len(gone)] or left[:1]
        gone += chosen
        left = [layer for layer in left if layer not in chosen]
    return sorted(gone)


def weakest(scores: Sequence[float], remove: int) -> list[int]:
    """The places, rising, of the `remove` lowest scores; of equal ones the first."""
    return sorted(sorted(range(len(scores)), key=lambda place: (scores[place], place))[:remove])


def _ranked(scores: Tensor) -> list[int]:
    """The best first; of equal scores the first."""
    order: list[int] = torch.argsort(scores, descending=True, stable=True).tolist()
    return order
