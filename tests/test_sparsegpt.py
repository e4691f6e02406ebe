"""prune.sparsegpt: exact zeros, what is left makes good what is gone, and nothing else changes."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from core import parametrised
from core.heads import LinearHead
from core.model import SentenceEncoder, build
from core.moments import Sums
from core.schema.pruning import PrunedWeights, Pruning
from core.spec import EncoderSpec
from prune import magnitude, sparsegpt
from prune.objective import Batch

HEADS = {
    "binary": LinearHead(np.random.default_rng(1).normal(size=(1, 32)).astype(np.float32), np.zeros(1, np.float32))
}
HALF = PrunedWeights(ratio=0.5, method="sparsegpt")


def matrices(encoder: SentenceEncoder) -> dict[str, torch.nn.Linear]:
    return parametrised.linears(encoder.transformer.encoder)


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


def known(given: Tensor) -> sparsegpt._Matrix:
    sums = Sums()
    sums.add(given)
    return sparsegpt._Matrix.of(sums.moments())


def reconstructed(weight: Tensor, zeros: int, given: Tensor, importance: Tensor | None = None) -> Tensor:
    about = known(given)
    rows = torch.ones(len(weight)) if importance is None else importance
    return sparsegpt.refitted(weight, sparsegpt.chosen(weight, zeros, rows, about.spread()), about.covariance)


def by_size(weight: Tensor, zeros: int) -> Tensor:
    return weight * (weight.abs() > weight.abs().flatten().kthvalue(zeros).values)


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_as_many_zeros_as_asked_and_less_lost_than_by_magnitude(ratio: float) -> None:
    given, old = states(2000, 96, 1), torch.randn(40, 96, generator=torch.Generator().manual_seed(2))
    zeros = round(ratio * old.numel())
    new = reconstructed(old, zeros, given)
    assert int((new == 0).sum()) == zeros
    assert lost(new, old, given) < 0.85 * lost(by_size(old, zeros), old, given)


def test_twins_are_worth_one_of_them() -> None:
    """Inputs that come twice: half of the weights go and nothing is lost."""
    once = torch.randn(2000, 96, generator=torch.Generator().manual_seed(1))
    given, old = torch.cat([once, once], 1), torch.randn(8, 192, generator=torch.Generator().manual_seed(2))
    whole = float((old @ given.T).square().mean())
    assert lost(reconstructed(old, 768, given), old, given) < 0.002 * whole
    assert lost(by_size(old, 768), old, given) > 0.05 * whole


def test_what_is_left_is_the_answer_of_least_squares() -> None:
    given, old = states(500, 32, 1), torch.randn(6, 32, generator=torch.Generator().manual_seed(2))
    shares = torch.tensor([0.0, 0.1, 0.3, 0.5, 0.9, 1.0])
    stays = torch.rand(6, 32, generator=torch.Generator().manual_seed(3)) < shares[:, None]
    about = known(given)
    new = sparsegpt.refitted(old, stays, about.covariance)
    assert not new[~stays].any()
    torch.testing.assert_close(new[5], old[5], atol=1e-4, rtol=0)  # nothing was taken from it
    slope = (new - old).double() @ about.covariance  # of half the loss
    assert float(slope[stays].abs().max()) < 1e-4 * float((old.double() @ about.covariance).abs().max())


def test_nothing_asked_changes_nothing_and_zeros_stay() -> None:
    given = states(500, 64, 1)
    old = torch.randn(8, 64, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(reconstructed(old, 0, given), old, atol=1e-4, rtol=0)
    there = torch.rand(8, 64, generator=torch.Generator().manual_seed(3)) < 0.5
    again = reconstructed(old * there, 384, given)
    assert int((again == 0).sum()) == 384
    assert not (again != 0)[~there].any()


def test_all_of_a_matrix_may_go() -> None:
    given, old = states(500, 64, 1), torch.randn(8, 64, generator=torch.Generator().manual_seed(2))
    assert not reconstructed(old, 512, given).any()
    old[:, 32:] *= 1e-6  # as all of its last columns here, once the first ones hold what is to stay
    assert int((reconstructed(old, 504, given) != 0).sum()) == 8


def test_rows_that_matter_keep_more() -> None:
    given, old = states(500, 64, 1), torch.randn(8, 64, generator=torch.Generator().manual_seed(2))
    importance = torch.ones(8)
    importance[3] = 100.0
    left = (reconstructed(old, 384, given, importance) != 0).sum(1)
    assert left[3] > 1.5 * left.float().mean()


def test_importance_is_how_far_an_output_moves_the_logits(tiny_encoder: SentenceEncoder) -> None:
    """Against finite differences, with one logit, whose sign does not matter."""
    given = batches(tiny_encoder, 1)
    found = sparsegpt.importance_of_outputs(copy.deepcopy(tiny_encoder), HEADS, given)
    moved = copy.deepcopy(tiny_encoder)
    linear = matrices(moved)["layer.0.output.dense"]
    weight = torch.tensor(HEADS["binary"].weight)[0]
    with torch.no_grad():
        at = [float(moved(given[0].input_ids, given[0].mask).sentence_embedding[0] @ weight)]
        linear.bias[5] += 1e-2
        at.append(float(moved(given[0].input_ids, given[0].mask).sentence_embedding[0] @ weight))
    assert float(found["0.output.dense"][5]) == pytest.approx(((at[1] - at[0]) / 1e-2) ** 2, rel=0.05)


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_an_encoder_keeps_more_than_by_magnitude_and_what_is_no_matrix_of_its_layers(
    tiny_encoder: SentenceEncoder, scope: Literal["layer", "global"]
) -> None:
    before = copy.deepcopy(tiny_encoder.state_dict())
    given, asked = batches(tiny_encoder, *range(20, 80)), PrunedWeights(ratio=0.6, scope=scope, method="sparsegpt")
    pruned = sparsegpt.zeroed(tiny_encoder, HEADS, asked, given)
    assert magnitude.share_of_zeros(pruned) == pytest.approx(0.6, abs=1e-3)
    shares = [float((linear.weight == 0).float().mean()) for linear in matrices(pruned).values()]
    assert (max(shares) - min(shares) > 0.05) == (scope == "global")
    assert all(torch.equal(value, before[name]) for name, value in tiny_encoder.state_dict().items())
    changed = {name for name, value in pruned.state_dict().items() if not torch.equal(value, before[name])}
    stack = [f"transformer.encoder.{name}" for name in matrices(pruned)]
    assert changed <= {f"{name}.{part}" for name in stack for part in ("weight", "bias")}
    smaller = magnitude.zeroed(tiny_encoder, PrunedWeights(ratio=0.6, scope=scope))
    ids, mask = given[0].input_ids, given[0].mask
    with torch.no_grad():
        whole, kept, less = (one(ids, mask).sentence_embedding for one in (tiny_encoder, pruned, smaller))
    assert (whole * kept).sum() > (whole * less).sum()


def test_padding_counts_for_nothing(tiny_encoder: SentenceEncoder) -> None:
    given = batches(tiny_encoder, 40, 12, 7)
    other = [replace(given[0], input_ids=given[0].input_ids.where(given[0].mask.bool(), torch.tensor(777)))]
    first, second = (sparsegpt.zeroed(tiny_encoder, HEADS, HALF, part).state_dict() for part in (given, other))
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], atol=1e-5, rtol=0)


def test_cut_layers_and_excerpts_are_no_hindrance() -> None:
    spec = EncoderSpec(2, 32, 4, 64, vocabulary_size=300, head_size=8, layer_heads=((0, 1), (1, 3)))
    pruned = sparsegpt.zeroed(build(spec).eval(), HEADS, HALF, batches(build(spec), 30, 20))
    assert magnitude.share_of_zeros(pruned) == pytest.approx(0.5, abs=1e-3)
    assert pruned.spec == spec


def test_groups_are_refused() -> None:
    with pytest.raises(ValidationError, match="puts zeros anywhere"):
        Pruning.model_validate({"weights": {"ratio": 0.5, "method": "sparsegpt", "group_size": 4}})
