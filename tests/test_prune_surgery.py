"""prune.surgery and the spec of cut encoders: cut equals masked, is rebuilt from its spec, and is counted right."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModel, MPNetModel

from core.errors import UserError
from core.heads import LinearHead
from core.model import EncoderSpec, SentenceEncoder, build
from core.pretrained import load_encoder, read_spec, write_encoder
from export import graph
from prune import gates, hidden, surgery
from prune.layers import changes
from prune.objective import Batch, Objective
from prune.size import in_matrices, parameters
from tests.export_factory import batch_of, by_torch, embeddings, random_texts

HEADS, NEURONS = [[0, 3], [1, 2, 3], [0, 1, 2, 3]], [[*range(5, 40)], [*range(48)], [0, 47]]
SPEC = EncoderSpec(3, 32, 4, 48, vocabulary_size=400)


def random(spec: EncoderSpec, seed: int = 0) -> SentenceEncoder:
    """Every weight counts, the relative bias too."""
    encoder = build(spec)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(
                1 + 0.1 * noise if "LayerNorm.weight" in name else noise * (1 if "relative" in name else 0.2)
            )
    return encoder.eval()


@pytest.fixture(scope="module")
def whole() -> SentenceEncoder:
    return random(SPEC)


def texts() -> tuple[Tensor, Tensor]:
    """Six of unlike length, padded."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.tensor([9, 3, 30, 1, 17, 5])
    mask = torch.arange(30)[None] < lengths[:, None]
    return torch.randint(5, 390, mask.shape, generator=generator).where(mask, torch.tensor(1)), mask.long()


@torch.no_grad()
def embed(encoder: SentenceEncoder) -> Tensor:
    return encoder(*texts()).sentence_embedding


def masks(kept: Sequence[Sequence[int]], units: int) -> list[Tensor]:
    found = torch.zeros(len(kept), 1, units)
    for layer, places in enumerate(kept):
        found[layer, 0, list(places)] = 1
    return list(found)


def test_heads_cut_out_are_heads_silenced(whole: SentenceEncoder) -> None:
    with gates.factors(gates.outputs_of_heads(whole), masks(HEADS, 4)):
        masked = embed(whole)
    cut = surgery.keep_heads(whole, HEADS)
    torch.testing.assert_close(embed(cut), masked, atol=1e-6, rtol=0)
    assert (masked - embed(whole)).abs().max() > 0.01
    assert cut.transformer.encoder.layer[0].attention.attn.q.weight.shape == (16, 32)  # type: ignore[union-attr]
    shifted = surgery.keep_heads(whole, [[0, 2], *HEADS[1:]])  # the slice of the bias matters
    assert (embed(shifted) - masked).abs().max() > 0.01


def test_each_head_keeps_its_own_column_of_the_bias(whole: SentenceEncoder) -> None:
    """With the other heads' columns changed nothing moves; with its own it does."""
    cut = surgery.keep_heads(whole, [[1, 3]] * 3)
    before = embed(cut)
    for head, moves in ((0, False), (2, False), (1, True), (3, True)):
        changed = copy.deepcopy(cut)
        with torch.no_grad():
            changed.transformer.encoder.relative_attention_bias.weight[:, head] *= -1  # type: ignore[union-attr]
        assert bool((embed(changed) - before).abs().max() > 1e-4) == moves


def test_neurons_cut_out_are_neurons_silenced(whole: SentenceEncoder) -> None:
    with gates.factors(gates.outputs_of_neurons(whole), masks(NEURONS, 48)):
        masked = embed(whole)
    torch.testing.assert_close(embed(surgery.keep_neurons(whole, NEURONS)), masked, atol=1e-6, rtol=0)
    assert (masked - embed(whole)).abs().max() > 0.01


@torch.no_grad()
def test_layers_left_out_are_skipped(whole: SentenceEncoder) -> None:
    ids, mask = texts()
    body = whole.transformer
    bias, states = body.bias(mask), body.embeddings(ids)
    for layer in (0, 2):
        states = body.encoder.layer[layer](states, bias)
    assert torch.equal(embed(surgery.keep_layers(whole, [0, 2])), whole.pool(states, mask))
    moved = changes(whole, [(ids, mask)])
    skipped = [surgery.keep_layers(whole, [one for one in range(3) if one != gone]) for gone in range(3)]
    expected = [1 - float((embed(one) * embed(whole)).sum(1).mean()) for one in skipped]
    assert moved == pytest.approx(expected, abs=1e-5)


def test_hidden_width_is_cut_everywhere_and_nowhere_else(whole: SentenceEncoder) -> None:
    for projection in (None, 24):
        encoder = random(replace(SPEC, projection=projection))
        dimensions = [place for place in range(32) if place % 4]
        cut = hidden.keep(encoder, dimensions)
        assert (cut.spec.hidden_size, cut.spec.head_size, cut.spec.size_of_head) == (24, 8, 8)
        state, index = cut.state_dict(), torch.tensor(dimensions)
        widths = {"q": 1, "k": 1, "v": 1, "intermediate": 1, "o": 0, "output": 0, "projection": 1}
        for name, value in encoder.state_dict().items():
            kind = next((part for part in reversed(name.split(".")) if part in widths), None)
            if "embeddings" in name:
                value = value[..., index]
            elif "LayerNorm" in name:
                value = value[index]
            elif kind is not None and (value.dim() == 2 or widths[kind] == 0):
                value = value.index_select(widths[kind] if value.dim() == 2 else 0, index)
            assert torch.equal(state[name], value), name
        assert embed(cut).shape == (6, projection or 24)
    assert hidden.keep(whole, range(32)) is whole


def test_torch_pruning_must_be_told_of_positions_and_projection(whole: SentenceEncoder) -> None:
    """What the docstring of prune.hidden claims: without being told it leaves the positions as wide as they were."""
    import torch_pruning

    model = copy.deepcopy(whole)
    graph_of = torch_pruning.DependencyGraph().build_dependency(
        model, texts(), output_transform=lambda output: output.sentence_embedding, verbose=False
    )
    table = model.transformer.embeddings.word_embeddings
    graph_of.get_pruning_group(table, torch_pruning.prune_embedding_out_channels, [0, 1]).prune()
    assert model.transformer.embeddings.position_embeddings.weight.shape[1] == 32  # type: ignore[union-attr]
    with pytest.raises(RuntimeError, match="must match the size"):
        embed(model)


def cut_all(encoder: SentenceEncoder) -> SentenceEncoder:
    return surgery.keep_neurons(surgery.keep_heads(surgery.keep_layers(encoder, [0, 1, 2]), HEADS), NEURONS)


def test_what_is_cut_twice_is_cut_once(whole: SentenceEncoder) -> None:
    first = surgery.keep_heads(whole, [[0, 1, 3], [1, 2, 3], [0, 1, 2]])
    again = surgery.keep_heads(first, [[0, 2], [1], [0, 1, 2]])
    assert again.spec.layer_heads == ((0, 3), (2,), (0, 1, 2))
    assert torch.equal(embed(again), embed(surgery.keep_heads(whole, [[0, 3], [2], [0, 1, 2]])))
    fewer = surgery.keep_layers(again, [1, 2])
    assert fewer.spec.layer_heads == ((2,), (0, 1, 2))
    assert fewer.spec.heads_of(1) == (2,)
    embed(hidden.keep(fewer, range(0, 32, 2)))


def test_nothing_cut_is_the_same_encoder(whole: SentenceEncoder) -> None:
    all_heads, all_neurons = [[*range(4)]] * 3, [[*range(48)]] * 3
    same = surgery.keep_neurons(surgery.keep_heads(surgery.keep_layers(whole, [0, 1, 2]), all_heads), all_neurons)
    assert same.spec == whole.spec
    assert not same.spec.is_cut
    assert torch.equal(embed(same), embed(whole))


@pytest.mark.parametrize("projection", [None, 24])
def test_parameters_are_those_of_the_spec(projection: int | None) -> None:
    encoder = random(replace(SPEC, projection=projection))
    cuts = [encoder, cut_all(encoder), surgery.keep_layers(encoder, [1]), hidden.keep(cut_all(encoder), range(16))]
    for cut in cuts:
        assert parameters(cut.spec) == sum(parameter.numel() for parameter in cut.parameters())
        matrices = [name for name, value in cut.state_dict().items() if "encoder.layer" in name and value.dim() == 2]
        assert sum(in_matrices(cut.spec)) == sum(cut.state_dict()[name].numel() for name in matrices)
    assert parameters(EncoderSpec(12, 768, 12, 3072)) == 109_486_464 - 590_592  # microsoft/mpnet-base but its pooler


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_cut_encoder_is_rebuilt_from_its_folder_alone(
    whole: SentenceEncoder, tokenizer_folder: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    for number, cut in enumerate((cut_all(whole), hidden.keep(cut_all(whole), range(8, 32)))):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_encoder(folder, copy.deepcopy(cut).to(dtype), 64, tokenizer_folder)
        loaded = load_encoder(folder)
        assert loaded.spec == cut.spec == read_spec(folder)
        for name, value in loaded.state_dict().items():
            assert torch.equal(value, cut.state_dict()[name].to(dtype)), name
        config = json.loads((folder / "config.json").read_text())
        assert (config["model_type"], "note" in config) == ("raxe-mpnet", True)
        with pytest.raises(ValueError, match="raxe-mpnet"):
            AutoModel.from_pretrained(folder)


def test_what_lost_layers_or_even_neurons_is_still_an_mpnet_of_transformers(
    whole: SentenceEncoder, tokenizer_folder: Path, tmp_path: Path
) -> None:
    cut = surgery.keep_neurons(surgery.keep_layers(whole, [0, 2]), [[*range(20)], [*range(9, 29)]])
    assert (cut.spec.intermediate_size, cut.spec.layers, cut.spec.is_cut) == (20, 2, False)
    write_encoder(tmp_path, cut, 64, tokenizer_folder)
    ids, mask = texts()
    with torch.no_grad():
        theirs = MPNetModel.from_pretrained(tmp_path, add_pooling_layer=False).eval()(ids, mask).last_hidden_state
        ours = cut(ids, mask).last_hidden_state
    torch.testing.assert_close(ours[mask.bool()], theirs[mask.bool()], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("changes_of_config", "said"),
    [
        ({"layer_heads": [[0], [1]]}, "`layer_heads` is of 2 layers, and there are 3"),
        ({"layer_heads": [[0], [], [1]]}, r"gives a layer the heads \[\]: one or more of 0 to 3"),
        ({"layer_heads": [[0], [4], [1]]}, r"the heads \[4\]"),
        ({"layer_heads": [[0], [2, 1], [1]]}, r"the heads \[2, 1\].*rising"),
        ({"layer_intermediate_sizes": [4, 0, 2]}, "gives a layer no neuron"),
        ({"layer_heads": [[0], 1, [1]]}, "cannot be read as an MPNet configuration"),
        ({"layer_heads": [[0], [1], [1]]}, r"q\.weight is \(16, 32\), config\.json asks \(8, 32\)"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(
    whole: SentenceEncoder, tokenizer_folder: Path, tmp_path: Path, changes_of_config: dict[str, object], said: str
) -> None:
    write_encoder(tmp_path, cut_all(whole), 64, tokenizer_folder)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes_of_config))
    with pytest.raises(UserError, match=said):
        load_encoder(tmp_path)


def test_other_architectures_are_refused() -> None:
    with pytest.raises(UserError, match="this is a hybrid encoder"):
        surgery.refuse_other_architectures(replace(SPEC, architecture="hybrid"))


@pytest.mark.parametrize("heads", [HEADS, [[1, 3]] * 3, [[0], [1], [0, 1]]], ids=["unlike", "alike", "few"])
def test_a_cut_encoder_as_a_graph(heads: list[list[int]]) -> None:
    whole = random(replace(SPEC, vocabulary_size=30_000, projection=24))
    cut = surgery.keep_neurons(surgery.keep_heads(whole, heads), NEURONS)
    batch = batch_of(random_texts((7, 3, 60)), 70)
    model = graph.to_onnx(cut)
    np.testing.assert_allclose(embeddings(model, batch), by_torch(cut, batch)[0], atol=1e-5)
    slices = [node for node in model.graph.node if node.op_type == "Gather" and "bias" in node.output[0]]
    used = {head for layer in heads for head in layer}
    assert len(slices) == sum(len(layer) < len(used) for layer in heads)  # none where all layers have the same heads


def test_gradients_are_those_of_scaling_one_unit(whole: SentenceEncoder) -> None:
    ids, mask = texts()
    labels = {"binary": torch.tensor([0, 1, 1, 0, 1, 0]), "family": torch.tensor([-100, 1, 0, -100, 1, -100])}
    labels["subfamily"] = torch.tensor([-100, 2, 1, -100, 0, -100])
    generator = np.random.default_rng(0)
    heads = {
        name: LinearHead(generator.normal(size=(size, 32)).astype(np.float32), np.zeros(size, np.float32))
        for name, size in (("binary", 1), ("family", 2), ("subfamily", 3))
    }
    objective = Objective(heads, 0.5, 0.25)
    encoder = copy.deepcopy(whole).double()
    objective.heads = {name: (weight.double(), bias.double()) for name, (weight, bias) in objective.heads.items()}
    matrices = gates.outputs_of_heads(encoder)
    single, batches = copy.deepcopy(whole), [Batch(ids, mask, labels)]
    found = gates.gradients(single, gates.outputs_of_heads(single), [4] * 3, batches, Objective(heads, 0.5, 0.25))
    for layer, head in ((0, 0), (1, 3), (2, 2)):
        losses = []
        for step in (1e-4, -1e-4):
            gate = torch.ones(1, 4, dtype=torch.float64)
            gate[0, head] += step
            with torch.no_grad(), gates.factors([matrices[layer]], [gate]):
                losses.append(objective(encoder(ids, mask).sentence_embedding, labels))
        torch.testing.assert_close(found[layer][:, head].double(), (losses[0] - losses[1]) / 2e-4, atol=1e-5, rtol=1e-3)
    assert all(parameter.requires_grad for parameter in single.parameters())
