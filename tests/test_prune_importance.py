"""prune's arithmetic by hand: scores, who is strongest, which layers a rule takes; the search by its definition."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from core import parametrised
from core.errors import UserError
from core.heads import LinearHead, OperatingPoint
from core.layer_subsets import batches_by_length, without_each
from core.model import SentenceEncoder, build
from core.schema import Heads
from core.schema.pruning import PrunedHeads, PrunedLayers, PrunedNeurons, PrunedWeights
from core.spec import Excerpt
from eval.metrics import bootstrap
from prune import heads, importance, layers, magnitude, neurons
from prune.cost_interval import REPEATS, SEED, Pairing
from prune.cost_table import without_each_head
from prune.hidden import count
from prune.judge import Judge
from prune.objective import Batch, Objective
from prune.surgery import keep_heads, keep_layers
from tests.layer_factory import IDS, deep


def labelled(encoder: SentenceEncoder) -> tuple[list[Batch], Objective]:
    batches, order = batches_by_length(encoder, IDS)
    places = iter(torch.from_numpy(order).split([len(ids) for ids, _ in batches]))
    found = []
    for ids, mask in batches:
        here = next(places)
        found.append(Batch(ids, mask, {"binary": here % 2, "family": here % 3, "subfamily": here % 4}))
    generator = np.random.default_rng(0)
    sizes = zip(("binary", "family", "subfamily"), (1, 3, 4), strict=True)
    heads_of = {
        name: LinearHead(generator.normal(size=(size, 16)).astype(np.float32) * 4, np.zeros(size, np.float32))
        for name, size in sizes
    }
    return found, Objective(heads_of, 0.5, 0.5)


def test_scores_by_hand() -> None:
    gradients = torch.tensor([[3.0, -1.0], [-3.0, -1.0]])
    assert importance.michel(gradients).tolist() == [3.0, 1.0]  # a sum would be 0 and -1
    assert importance.taylor(gradients).tolist() == [9.0, 1.0]
    assert importance.per_layer(torch.tensor([3.0, 4.0])).tolist() == pytest.approx([0.6, 0.8])
    assert importance.per_layer(torch.zeros(2)).tolist() == [0.0, 0.0]


def test_the_best_by_hand() -> None:
    scores = [torch.tensor([1.0, 9.0, 8.0, 7.0]), torch.tensor([3.0, 2.0, 2.0, 0.0]), torch.tensor([0.1, 0.2])]
    assert importance.best(scores[0], 2) == [1, 2]
    assert importance.best(scores[1], 2) == [0, 1]  # of equal ones the first
    assert importance.best_of_all(scores, 3) == [[1], [0], [1]]  # one of each, however weak
    assert importance.best_of_all(scores, 5) == [[1, 2, 3], [0], [1]]
    assert importance.best_of_all(scores, 10) == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1]]


@pytest.mark.parametrize(
    ("asked", "width", "multiple", "left"),
    [(921.6, 1536, 16, 928), (921.6, 1536, 1, 922), (3.0, 64, 16, 16), (60.0, 60, 16, 60), (64.0, 64, 16, 64)],
)
def test_what_is_left_is_rounded(asked: float, width: int, multiple: int, left: int) -> None:
    assert importance.rounded(asked, width, multiple) == left


def test_hidden_width_is_a_multiple_that_a_configuration_can_name() -> None:
    assert [count(384, 12, ratio) for ratio in (0.0, 0.25, 0.3, 0.999)] == [384, 288, 264, 24]
    assert count(30, 3, 0.0) == 30


def test_layers_by_rule() -> None:
    assert importance.alternate(12, 4) == [4, 6, 8, 10]
    assert importance.alternate(6, 1) == [4]
    assert importance.alternate(4, 3) == [0, 1, 2]
    assert [len(importance.alternate(12, number)) for number in range(12)] == list(range(12))
    assert importance.weakest([0.5, 0.1, 0.1, 0.9], 2) == [1, 2]
    assert importance.weakest([0.1, 0.1, 0.1], 2) == [0, 1]
    encoder, judge = deep(5), _judge(deep(5))
    plain = judge.batches
    assert layers.removed(encoder, PrunedLayers(remove=2, rule="first"), plain, judge) == [0, 1]
    assert layers.removed(encoder, PrunedLayers(remove=2, rule="last"), plain, judge) == [3, 4]
    moved = layers.changes(encoder, plain)
    expected = sorted(np.argsort(moved, kind="stable")[:2].tolist())
    assert layers.removed(encoder, PrunedLayers(remove=2, rule="importance"), plain, judge) == expected
    assert layers.removed(encoder, PrunedLayers(), plain, judge) == []
    with pytest.raises(UserError, match=r"layers\.remove is 5, and the checkpoint has 5 layers.*remove 0 to 4"):
        layers.removed(encoder, PrunedLayers(remove=5), plain, judge)


def _judge(encoder: SentenceEncoder) -> Judge:
    batches, order = batches_by_length(encoder, IDS)
    with torch.inference_mode():
        whole = torch.cat([encoder(*batch).sentence_embedding for batch in batches]).numpy()
    head = LinearHead(np.random.default_rng(1).normal(size=(1, 16)).astype(np.float32), np.zeros(1, np.float32))
    labels = (head.logits(whole)[:, 0] + np.random.default_rng(2).normal(0, 0.3, len(whole)) > 0).astype(np.int64)
    assert len(order) == 40
    settings, groups = Heads(max_false_positive_rate=0.3), [str(row // 2) for row in range(len(labels))]
    return Judge(batches, labels, whole, head, OperatingPoint(0.0, 1.0), settings, groups)


def test_a_cost_is_paired_with_the_whole_over_resampled_clusters() -> None:
    judge = _judge(deep(2))
    priced = Pairing(judge)
    nothing = priced(judge.whole)
    assert nothing.f1_lost_interval == nothing.f1_as_served_lost_interval == nothing.auroc_lost_interval == (0.0, 0.0)
    upside_down = priced(-judge.whole)
    low, high = upside_down.auroc_lost_interval
    assert 0 < low < priced.whole.auroc - upside_down.auroc < high
    weights = bootstrap.resample(judge.labels, judge.groups, REPEATS, SEED)
    logits = judge.logits(judge.whole)
    gaps = bootstrap.auroc(judge.labels, logits, weights) - bootstrap.auroc(judge.labels, -logits, weights)
    assert (low, high) == pytest.approx(tuple(np.percentile(gaps, (2.5, 97.5))))


def test_the_search_takes_the_best_in_every_step(capsys: pytest.CaptureFixture[str]) -> None:
    """By its definition: each smaller encoder is built and judged."""
    encoder = deep(5)
    judge, kept = _judge(encoder), tuple(range(5))
    steps = list(layers.eliminate(encoder, judge, 2))
    for step in steps:
        choices = [tuple(one for one in kept if one != gone) for gone in kept]
        worths = []
        for choice in choices:
            smaller = keep_layers(encoder, choice)
            with torch.inference_mode():
                parts = [smaller(*batch).sentence_embedding for batch in judge.batches]
            worths.append(judge(torch.cat(parts).numpy()))
        best = max(range(len(kept)), key=lambda place: (worths[place].f1, round(worths[place].cosine, 5)))
        assert (step.dropped, step.kept) == (kept[best], choices[best])
        kept = step.kept
    assert len(kept) == 2
    gone = layers.removed(encoder, PrunedLayers(remove=3), judge.batches, judge)
    assert gone == [one for one in range(5) if one not in kept]
    assert capsys.readouterr().out.splitlines() == [layers.describe(step) for step in steps]
    unchanged = judge(judge.whole)
    assert unchanged.cosine == pytest.approx(1.0, abs=1e-6)
    assert 0.3 < unchanged.f1 <= 1


def test_heads_left_out_one_by_one_are_heads_cut_out() -> None:
    encoder = keep_heads(deep(3), [[0, 2, 3], [1, 2], [0, 1, 2, 3]])
    batches = batches_by_length(encoder, IDS)[0]
    found = without_each_head(encoder, batches)
    assert [len(layer) for layer in found] == [3, 2, 4]
    for layer, head in ((0, 1), (1, 0), (2, 3)):
        places = [list(range(len(part))) for part in found]
        places[layer].remove(head)
        cut = keep_heads(encoder, places)
        with torch.inference_mode():
            expected = torch.cat([cut(*batch).sentence_embedding for batch in batches]).numpy()
        np.testing.assert_allclose(found[layer][head], expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["michel", "taylor"])
def test_a_head_that_does_nothing_goes_first(kind: str) -> None:
    encoder = deep(3)
    idle = [2, 0, 3]
    with torch.no_grad():
        for number, head in enumerate(idle):
            encoder.transformer.encoder.layer[number].attention.attn.o.weight[:, head * 4 : head * 4 + 4] = 0  # type: ignore[union-attr, index]
    batches, objective = labelled(encoder)
    settings = PrunedHeads.model_validate({"remove": 1, "importance": kind})
    expected = [[head for head in range(4) if head != gone] for gone in idle]
    assert heads.kept(encoder, settings, batches, objective) == expected
    everywhere = settings.model_copy(update={"spread": "global"})
    assert heads.kept(encoder, everywhere, batches, objective) == expected
    uneven = PrunedHeads(remove=2, spread="global")
    left = heads.kept(encoder, uneven, batches, objective)
    assert sum(map(len, left)) == 6
    assert min(map(len, left)) >= 1
    assert all(gone not in layer for gone, layer in zip(idle, left, strict=True))


@pytest.mark.parametrize(
    ("counts", "settings", "said"),
    [
        ([4, 3, 4], {"remove": 3}, r"heads\.remove is 3, and layer 2 has 3 heads.*remove 0 to 2"),
        ([4, 4], {"remove": 4, "spread": "global"}, r"2 layers have 8 heads together.*remove 0 to 3"),
    ],
)
def test_a_layer_never_loses_all_its_heads(counts: list[int], settings: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        heads.refuse_all(counts, PrunedHeads.model_validate(settings))


@pytest.mark.parametrize("kind", ["taylor", "activation"])
@pytest.mark.parametrize("spread", ["equal", "global"])
def test_neurons_that_do_nothing_go_first(kind: str, spread: str) -> None:
    encoder = deep(2)
    idle = [list(range(0, 32, 2)), list(range(16))]
    with torch.no_grad():
        for number, gone in enumerate(idle):
            encoder.transformer.encoder.layer[number].output.dense.weight[:, gone] = 0  # type: ignore[union-attr, index]
    batches, objective = labelled(encoder)
    settings = PrunedNeurons.model_validate({"ratio": 0.5, "importance": kind, "spread": spread, "multiple_of": 4})
    left = neurons.kept(encoder, settings, batches, objective)
    assert left == [[one for one in range(32) if one not in gone] for gone in idle]
    few = settings.model_copy(update={"ratio": 0.75})
    assert sum(map(len, neurons.kept(encoder, few, batches, objective))) == 16


def test_one_shot_zeros_are_the_smallest_weights() -> None:
    encoder = deep(2)
    before = copy.deepcopy(encoder.state_dict())
    pruned = magnitude.zeroed(encoder, PrunedWeights(ratio=0.6))
    assert magnitude.share_of_zeros(pruned) == pytest.approx(0.6, abs=1e-3)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    gone, left = [], []
    for name, part in parametrised.linears(pruned.transformer.encoder).items():
        zero, old = part.weight.detach() == 0, before[f"transformer.encoder.{name}.weight"].abs()
        gone.append(float(old[zero].max()))
        left.append(float(old[~zero].min()))
    assert max(gone) < min(left)
    assert magnitude.zeroed(encoder, PrunedWeights()) is encoder
    grouped = magnitude.zeroed(encoder, PrunedWeights(ratio=0.5, group_size=4))
    for part in parametrised.linears(grouped.transformer.encoder).values():
        assert ((part.weight.unflatten(1, (-1, 4)) == 0).sum(-1) == 2).all()
    again = magnitude.zeroed(pruned, PrunedWeights(ratio=0.6))
    assert all(torch.equal(value, pruned.state_dict()[name]) for name, value in again.state_dict().items())


def test_an_encoder_that_reads_excerpts_is_measured_on_them() -> None:
    encoder = build(replace(deep(2).spec, excerpt=Excerpt(8, 3))).eval()
    encoder.load_state_dict(deep(2).state_dict(), strict=False)
    encoder.reading.token_weights.copy_(torch.arange(60, dtype=torch.uint8))  # type: ignore[union-attr]
    batches, order = batches_by_length(encoder, IDS)
    assert max(ids.shape[1] for ids, _ in batches) == 8 < max(map(len, IDS))
    with torch.inference_mode():
        found = torch.cat([encoder(*batch).sentence_embedding for batch in batches]).numpy()
        alone = [encoder(torch.tensor([IDS[place]]), torch.ones(1, len(IDS[place])).long()) for place in order]
    np.testing.assert_allclose(found, torch.cat([one.sentence_embedding for one in alone]).numpy(), atol=1e-5)
    np.testing.assert_allclose(
        without_each(encoder, (0, 1), batches)[0],
        torch.cat([keep_layers(encoder, [1])(*batch).sentence_embedding for batch in batches]).detach().numpy(),
        atol=1e-5,
    )
