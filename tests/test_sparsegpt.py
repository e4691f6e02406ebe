"""prune.sparsegpt: exact zeros, what is left makes good what is gone, and nothing else changes."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from core import parametrised
from core.model import SentenceEncoder, build
from core.schema.pruning import PrunedWeights, Pruning
from core.spec import EncoderSpec
from prune import magnitude, sparsegpt
from prune.objective import Batch


def states(rows: int, width: int, seed: int) -> Tensor:
    """Correlated inputs whose mean is not zero: (rows, width)."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(rows, width // 2, generator=generator) @ torch.randn(width // 2, width, generator=generator)
    return mixed + 0.3 * torch.randn(rows, width, generator=generator) + 2


def batches(encoder: SentenceEncoder, *lengths: int) -> list[Batch]:
    """Texts of random ids, padded on the right."""
    generator = torch.Generator().manual_seed(4)
    longest = max(lengths)
    ids = torch.randint(200, encoder.spec.vocabulary_size, (len(lengths), longest), generator=generator)
    mask = (torch.arange(longest)[None] < torch.tensor(lengths)[:, None]).long()
    return [Batch(ids.where(mask.bool(), torch.tensor(1)), mask, {})]


def lost(weight: Tensor, old: Tensor, given: Tensor) -> float:
    """Mean square of what the centred outputs lose."""
    centred = given - given.mean(0)
    return float(((weight - old) @ centred.T).square().mean())


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_as_many_zeros_as_asked_and_less_lost_than_by_magnitude(ratio: float) -> None:
    given, old = states(2000, 96, 1), torch.randn(40, 96, generator=torch.Generator().manual_seed(2))
    new = sparsegpt.reconstructed(old, ratio, torch.cov(given.T.double()))
    assert int((new == 0).sum()) == round(ratio * old.numel())
    by_size = old * (old.abs() > old.abs().flatten().kthvalue(round(ratio * old.numel())).values)
    assert lost(new, old, given) < 0.85 * lost(by_size, old, given)


def test_twins_are_worth_one_of_them() -> None:
    """Inputs that come twice: half of the weights go and nothing is lost."""
    once = torch.randn(2000, 96, generator=torch.Generator().manual_seed(1))
    given, old = torch.cat([once, once], 1), torch.randn(8, 192, generator=torch.Generator().manual_seed(2))
    new = sparsegpt.reconstructed(old, 0.5, torch.cov(given.T.double()))
    whole = float((old @ given.T).square().mean())
    assert lost(new, old, given) < 0.002 * whole
    by_size = old * (old.abs() > old.abs().flatten().kthvalue(768).values)
    assert lost(by_size, old, given) > 0.05 * whole


def test_nothing_asked_changes_nothing_and_zeros_stay() -> None:
    covariance = torch.cov(states(500, 64, 1).T.double())
    old = torch.randn(8, 64, generator=torch.Generator().manual_seed(2))
    assert torch.equal(sparsegpt.reconstructed(old, 0.0, covariance), old)
    there = torch.rand(8, 64, generator=torch.Generator().manual_seed(3)) < 0.5
    again = sparsegpt.reconstructed(old * there, 0.75, covariance)
    assert int((again == 0).sum()) == 384
    assert not (again != 0)[~there].any()


@torch.no_grad()
def test_an_encoder_keeps_more_than_by_magnitude_and_what_is_no_matrix_of_its_layers(
    tiny_encoder: SentenceEncoder,
) -> None:
    before = copy.deepcopy(tiny_encoder.state_dict())
    given = batches(tiny_encoder, *range(20, 80))
    pruned = sparsegpt.zeroed(tiny_encoder, 0.6, given)
    assert magnitude.share_of_zeros(pruned) == pytest.approx(0.6, abs=1e-3)
    assert all(torch.equal(value, before[name]) for name, value in tiny_encoder.state_dict().items())
    changed = {name for name, value in pruned.state_dict().items() if not torch.equal(value, before[name])}
    stack = [f"transformer.encoder.{name}" for name in parametrised.linears(pruned.transformer.encoder)]
    assert changed <= {f"{name}.{part}" for name in stack for part in ("weight", "bias")}
    by_size = magnitude.zeroed(tiny_encoder, PrunedWeights(ratio=0.6, scope="layer"))
    ids, mask = given[0].input_ids, given[0].mask
    whole = tiny_encoder(ids, mask).sentence_embedding
    kept, less = ((whole * one(ids, mask).sentence_embedding).sum(1).mean() for one in (pruned, by_size))
    assert kept > less


@torch.no_grad()
def test_padding_counts_for_nothing(tiny_encoder: SentenceEncoder) -> None:
    given = batches(tiny_encoder, 40, 12, 7)
    other = [replace(given[0], input_ids=given[0].input_ids.where(given[0].mask.bool(), torch.tensor(777)))]
    first, second = (sparsegpt.zeroed(tiny_encoder, 0.5, part).state_dict() for part in (given, other))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_cut_layers_and_excerpts_are_no_hindrance() -> None:
    spec = EncoderSpec(2, 32, 4, 64, vocabulary_size=300, head_size=8, layer_heads=((0, 1), (1, 3)))
    pruned = sparsegpt.zeroed(build(spec).eval(), 0.5, batches(build(spec), 30, 20))
    assert magnitude.share_of_zeros(pruned) == pytest.approx(0.5)
    assert pruned.spec == spec


@pytest.mark.parametrize("fields", [{"scope": "global"}, {"scope": "layer", "group_size": 4}])
def test_what_it_cannot_do_is_refused(fields: dict) -> None:
    with pytest.raises(ValidationError, match="write `scope: layer` and no group_size"):
        Pruning.model_validate({"weights": {"ratio": 0.5, "method": "sparsegpt", **fields}})
