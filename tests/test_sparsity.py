"""core.masks and core.sparsity: which weights become zero, when, and that they stay so."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core import parametrised, sparsity
from core.errors import UserError
from core.masks import cubic, largest_kept, n_of_m_mask
from core.model import SentenceEncoder
from core.schema.compression import Sparsity

HALF = Sparsity(final_sparsity=0.5)


def test_the_smallest_go_within_a_layer_or_over_all() -> None:
    values = {"a": torch.tensor([[1.0, 2.0], [8.0, 9.0]]), "b": torch.tensor([[3.0, 4.0]])}
    by_layer = largest_kept(values, 0.5, "layer")
    assert by_layer["a"].tolist() == [[False, False], [True, True]]
    assert by_layer["b"].tolist() == [[False, True]]
    together = largest_kept(values, 0.5, "global")
    assert together["a"].tolist() == [[False, False], [True, True]]
    assert together["b"].tolist() == [[False, True]]
    together = largest_kept(values, 0.67, "global")  # round(4.02) of 6
    assert together["a"].tolist() == [[False, False], [True, True]]
    assert together["b"].tolist() == [[False, False]]


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.25, 0.333, 0.5, 0.9, 0.99])
def test_as_many_go_as_are_asked_for_whatever_is_equal(ratio: float) -> None:
    values = {"a": torch.randint(0, 4, (20, 31)).float(), "b": torch.zeros(7, 9)}
    for scope in ("layer", "global"):
        masks = largest_kept(values, ratio, scope)  # type: ignore[arg-type]
        counts = [(int((~mask).sum()), mask.numel()) for mask in masks.values()]
        if scope == "global":
            counts = [(sum(zeros for zeros, _ in counts), 620 + 63)]
        assert counts == [(round(ratio * number), number) for _, number in counts]
    assert largest_kept({"a": torch.ones(1, 4)}, 0.5, "layer")["a"].tolist() == [[False, False, True, True]]


def test_two_of_four_by_hand() -> None:
    values = torch.tensor([[4.0, 1.0, 3.0, 2.0, 5.0, 5.0, 5.0, 5.0]])
    expected = [[True, False, True, False, False, False, True, True]]
    assert n_of_m_mask(values, keep=2, group_size=4).tolist() == expected
    assert n_of_m_mask(values, keep=4, group_size=4).all()
    with pytest.raises(UserError, match="8 inputs are not whole groups of 3"):
        n_of_m_mask(values, 1, 3)
    with pytest.raises(UserError, match="0 of every 4 weights cannot stay"):
        n_of_m_mask(values, 0, 4)


@pytest.mark.parametrize("ratio", [-0.1, 1.0, float("nan")])
def test_a_share_that_means_nothing_is_refused(ratio: float) -> None:
    with pytest.raises(UserError, match="from 0 to below 1"):
        largest_kept({"a": torch.ones(2, 2)}, ratio, "layer")


def test_the_cubic_schedule_by_hand() -> None:
    shares = [cubic(step, begin=2, end=6, initial=0.1, final=0.9) for step in range(8)]
    rest = [0.9 - 0.8 * (1 - place / 4) ** 3 for place in range(4)]
    assert shares == pytest.approx([0, 0, *rest, 0.9, 0.9])
    assert cubic(0, 0, 0, 0.0, 0.5) == 0.5


@pytest.fixture
def encoder(tiny_encoder: SentenceEncoder) -> SentenceEncoder:
    return copy.deepcopy(tiny_encoder)


def embed(encoder: nn.Module) -> Tensor:
    ids, mask = torch.tensor([[0, 2000, 2001, 2002, 2]]), torch.ones(1, 5, dtype=torch.int64)
    embedding: Tensor = encoder(ids, mask).sentence_embedding
    return embedding


def weights_of(encoder: SentenceEncoder) -> dict[str, Tensor]:
    return {name: layer.weight.detach().clone() for name, layer in parametrised.linears(encoder).items()}


def step(encoder: SentenceEncoder, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    embed(encoder)[:, :3].sum().backward()
    optimizer.step()


def test_no_zeros_are_the_identity(encoder: SentenceEncoder) -> None:
    before, names = embed(encoder), encoder.state_dict().keys()
    sparsity.apply(encoder, HALF)
    sparsity.update(encoder, HALF, 0.0)
    assert torch.equal(embed(encoder), before)
    assert sparsity.zeros(encoder) == 0
    sparsity.remove(encoder)
    assert torch.equal(embed(encoder), before)
    assert encoder.state_dict().keys() == names
    assert all(type(layer) is nn.Linear for layer in parametrised.linears(encoder).values())


@pytest.mark.parametrize(
    "settings",
    [
        HALF,
        Sparsity(final_sparsity=0.5, scope="layer"),
        Sparsity(final_sparsity=0.5, group_size=4),
        Sparsity(method="movement", final_sparsity=0.5),
        Sparsity(method="movement", final_sparsity=0.5, group_size=8),
        Sparsity(method="soft_movement", final_sparsity=0.5, score_penalty=1.0),
    ],
    ids=str,
)
def test_zeros_live_through_training_saving_and_baking(
    encoder: SentenceEncoder, tmp_path: Path, settings: Sparsity
) -> None:
    twin = copy.deepcopy(encoder)
    sparsity.apply(encoder, settings)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=0.05)
    step(encoder, optimizer)
    sparsity.update(encoder, settings, 0.5)
    held = {name: weight != 0 for name, weight in weights_of(encoder).items()}
    assert sparsity.zeros(encoder) == pytest.approx(0.5, abs=1e-4)
    for _ in range(3):
        step(encoder, optimizer)
    trained = weights_of(encoder)
    assert all(torch.equal(trained[name] != 0, kept) for name, kept in held.items())
    if settings.group_size:
        groups = trained["transformer.encoder.layer.1.output.dense"].unflatten(1, (-1, settings.group_size))
        assert ((groups != 0).sum(-1) == settings.group_size / 2).all()
    save_file(encoder.state_dict(), tmp_path / "model.safetensors")
    sparsity.apply(twin, settings)
    twin.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(embed(twin), embed(encoder))
    step(encoder, optimizer)
    before = embed(encoder)
    parameters = {name: parametrised.raw(layer) for name, layer in parametrised.linears(encoder).items()}
    sparsity.remove(encoder)
    assert not parametrised.find(encoder, sparsity.Masked)
    assert torch.equal(embed(encoder), before)
    for name, layer in parametrised.linears(encoder).items():
        assert layer.weight is parameters[name]  # an optimiser still holds it
        assert torch.equal(layer.weight != 0, held[name])
        assert not torch.signbit(layer.weight[layer.weight == 0]).any()


def test_what_is_pruned_moves_no_more_and_stays_pruned(encoder: SentenceEncoder) -> None:
    layers = encoder.transformer.encoder
    sparsity.apply(layers, HALF)
    sparsity.update(layers, HALF, 0.25)
    first = {name: part.mask.clone() for name, part in parametrised.find(layers, sparsity.Masked).items()}
    optimizer = torch.optim.SGD(encoder.parameters(), lr=5.0)
    raw = {name: parametrised.raw(layer).detach().clone() for name, layer in parametrised.linears(layers).items()}
    step(encoder, optimizer)
    for name, layer in parametrised.linears(layers).items():
        assert torch.equal(parametrised.raw(layer)[~first[name]], raw[name][~first[name]])
        assert not torch.equal(parametrised.raw(layer), raw[name])
    sparsity.update(layers, HALF, 0.5)
    for name, part in parametrised.find(layers, sparsity.Masked).items():
        assert not (part.mask & ~first[name]).any()


def test_a_score_moves_by_gradient_times_weight() -> None:
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.data = torch.tensor([[3.0, -2.0]])
    model = nn.Sequential(layer)
    settings = Sparsity(method="movement", final_sparsity=0.5)
    sparsity.apply(model, settings)
    part = parametrised.find(model, sparsity.Scored)["0"]
    part.mask[0, 0] = False
    model(torch.tensor([[5.0, 7.0]])).sum().backward()
    weight = parametrised.raw(layer)
    assert weight.grad is not None
    assert weight.grad.tolist() == [[0.0, 7.0]]
    assert part.scores.grad is not None
    assert part.scores.grad.tolist() == [[15.0, -14.0]]  # of the hidden weight, too: it may come back
    part.scores.data = torch.tensor([[1.0, -1.0]])
    sparsity.update(model, settings, 0.5)
    assert layer.weight.tolist() == [[3.0, 0.0]]
    sparsity.add_penalty(model, 4.0)
    sigmoid = torch.tensor(1.0).sigmoid()
    slope = float(sigmoid * (1 - sigmoid)) * 4 / 2  # the same at 1 and -1
    assert part.scores.grad[0].tolist() == pytest.approx([15 + slope, -14 + slope])
    sparsity.learn_scores(model, False)
    model.zero_grad()
    model(torch.tensor([[5.0, 7.0]])).sum().backward()
    assert part.scores.grad is None


def test_soft_movement_drops_below_its_threshold_and_ends_exactly() -> None:
    model = nn.Sequential(nn.Linear(4, 1))
    settings = Sparsity(method="soft_movement", final_sparsity=0.5, score_penalty=1.0)
    sparsity.apply(model, settings)
    part = parametrised.find(model, sparsity.Scored)["0"]
    part.scores.data = torch.tensor([[-3.0, -2.1, 0.0, 1.0]])  # sigmoids 0.05, 0.11, 0.5, 0.7
    sparsity.update(model, settings, 0.1)
    assert part.mask.tolist() == [[False, True, True, True]]
    sparsity.update(model, settings, 0.5)
    assert part.mask.tolist() == [[False, False, True, True]]


def test_the_zeros_of_a_pruned_checkpoint_are_kept(encoder: SentenceEncoder) -> None:
    layers = encoder.transformer.encoder
    sparsity.apply(layers, HALF)
    sparsity.update(layers, HALF, 0.5)
    sparsity.remove(layers)
    pruned = embed(encoder)
    zeros = {name: weight == 0 for name, weight in weights_of(encoder).items()}
    sparsity.apply(layers, Sparsity(method="keep"))
    assert torch.equal(embed(encoder), pruned)
    assert sparsity.zeros(layers) == pytest.approx(0.5, abs=1e-4)
    step(encoder, torch.optim.AdamW(encoder.parameters(), lr=0.1))
    sparsity.remove(layers)
    assert not torch.equal(embed(encoder), pruned)
    for name, weight in weights_of(encoder).items():
        assert torch.equal(weight == 0, zeros[name])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "all others need it"),
        ({"method": "keep", "final_sparsity": 0.5}, "takes no `final_sparsity`"),
        ({"final_sparsity": 0.5, "initial_sparsity": 0.6}, "is above final_sparsity"),
        ({"final_sparsity": 0.5, "begin_ratio": 0.6}, "must be above begin_ratio"),
        ({"final_sparsity": 0.4, "group_size": 4}, "1.6 zeros"),
        ({"final_sparsity": 0.4, "score_penalty": 1.0}, "need each other"),
        ({"final_sparsity": 1.0}, "less than 1"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Sparsity(**settings)
