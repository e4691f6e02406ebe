"""core.architectures: each by hand and behind the one interface, from configuration through training to ONNX."""

import copy
import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor
from transformers import AutoModel

from core import checkpoint, manifest
from core.architectures import ARCHITECTURES, Architecture, attending
from core.architectures.convolution import KERNEL, SeparableConvolution
from core.architectures.linear_attention import LinearAttention, positive
from core.architectures.mixing import MixingLayer
from core.architectures.static import StaticEmbeddings
from core.data import Corpus
from core.errors import UserError
from core.layers import Layer
from core.model import EncoderSpec, SentenceEncoder, build, unfilled
from core.pipeline import open_pipeline
from core.pretrained import load_encoder, read_spec
from core.rows import Rows, Taxonomy
from core.schema import Experiment, Student
from core.schema.serving import Format
from distill.experiment_run import Run
from distill.minilm import minilm_encoder
from distill.stages import make_student, make_teacher
from distill.student import initial
from export import graph, int8, run
from export import precision as precisions

OTHERS = tuple(name for name in ARCHITECTURES if name != "mpnet")
HIDDEN, INNER, HEADS, PROJECTION = 64, 128, 4, 32  # as wide as the tiny checkpoint's heads


def spec_of(architecture: Architecture) -> EncoderSpec:
    """Wide enough that the word embeddings count as a big table; two layers where there are layers."""
    layers = 0 if architecture == "static" else 2
    return EncoderSpec(layers, HIDDEN, HEADS, INNER, projection=PROJECTION, architecture=architecture)


def seeded(spec: EncoderSpec) -> SentenceEncoder:
    """Every weight counts."""
    encoder = build(spec)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.1 * noise if "LayerNorm.weight" in name else 0.2 * noise)
    return encoder.eval()


@pytest.fixture(scope="module", params=OTHERS)
def encoder(request: pytest.FixtureRequest) -> SentenceEncoder:
    return seeded(spec_of(request.param))


def batch_of(*lengths: int) -> tuple[Tensor, Tensor]:
    """Random ids with padding on the right: (input_ids, attention_mask), (texts, longest) each."""
    ids = torch.randint(200, 30000, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    return ids.where(mask, torch.tensor(1)), mask.long()


# Behind the one interface


@torch.no_grad()
def test_shapes_and_length(encoder: SentenceEncoder) -> None:
    output = encoder(*batch_of(9, 4), hidden_states=True)
    assert output.sentence_embedding.shape == (2, PROJECTION)
    torch.testing.assert_close(output.sentence_embedding.norm(dim=1), torch.ones(2), atol=1e-6, rtol=0)
    assert [state.shape for state in output.hidden_states] == [(2, 9, HIDDEN)] * (encoder.spec.layers + 1)
    assert torch.equal(output.hidden_states[-1], output.last_hidden_state)


@torch.no_grad()
def test_an_embedding_does_not_depend_on_padding_or_company(encoder: SentenceEncoder) -> None:
    ids, mask = batch_of(9, 40)
    together = encoder(ids, mask).sentence_embedding
    alone = encoder(ids[:1, :9], mask[:1, :9]).sentence_embedding
    torch.testing.assert_close(together[:1], alone, atol=1e-6, rtol=0)
    ids[0, 9:] = 777  # whatever stands under the mask
    torch.testing.assert_close(encoder(ids, mask).sentence_embedding, together, atol=1e-6, rtol=0)
    assert (together[0] - together[1]).abs().max() > 0.01


@torch.no_grad()
def test_a_text_without_tokens_and_the_longest_one_stay_finite(encoder: SentenceEncoder) -> None:
    ids, mask = batch_of(512, 3)
    mask[1] = 0
    assert torch.isfinite(encoder(ids, mask).sentence_embedding).all()


def test_every_parameter_learns(encoder: SentenceEncoder) -> None:
    learning = copy.deepcopy(encoder)
    ids, mask = batch_of(9, 4)
    wanted = torch.randn(2, PROJECTION, generator=torch.Generator().manual_seed(2))
    (learning(ids, mask).sentence_embedding - wanted).square().sum().backward()
    for name, parameter in learning.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        if not name.endswith("attn.k.bias"):  # a softmax does not see it
            assert parameter.grad.abs().sum() > 0, name


def test_the_number_of_parameters_is_the_arithmetic_of_the_spec() -> None:
    words, places, hidden, inner = 30527, 514, HIDDEN, INNER
    norm, square = 2 * hidden, hidden * hidden + hidden
    feed_forward = 2 * hidden * inner + inner + hidden + norm
    convolution = KERNEL * hidden + square + norm + feed_forward
    attention = 4 * square + norm + feed_forward
    embeddings, projection = (words + places) * hidden + norm, hidden * PROJECTION
    expected = {
        "static": words * hidden + words + norm + projection,
        "convolution": embeddings + 2 * convolution + projection,
        "hybrid": embeddings + convolution + attention + 32 * HEADS + projection,
        "linear_attention": embeddings + 2 * attention + projection,
        "mpnet": embeddings + 2 * attention + 32 * HEADS + projection,
    }
    for name in ARCHITECTURES:
        assert sum(value.numel() for value in unfilled(spec_of(name)).parameters()) == expected[name], name


@torch.no_grad()
def test_half_precision_says_nearly_the_same(encoder: SentenceEncoder) -> None:
    batch = batch_of(200, 9)
    half = copy.deepcopy(encoder).bfloat16()(*batch).sentence_embedding
    assert half.dtype == torch.float32
    assert (half * encoder(*batch).sentence_embedding).sum(1).min() > 0.99


# Each by hand


@torch.no_grad()
def test_static_is_a_weighted_mean_in_which_order_does_not_count() -> None:
    encoder = seeded(spec_of("static"))
    ids, mask = batch_of(5, 3)
    table = encoder.transformer.embeddings
    assert isinstance(table, StaticEmbeddings)
    assert encoder.projection is not None
    vectors = table.LayerNorm(table.word_embeddings.weight[ids[1, :3]])  # (3, hidden)
    weights = table.token_weights[ids[1, :3]].exp()  # (3, 1)
    mean = encoder.projection.weight @ ((vectors * weights).sum(0) / weights.sum())
    embedding = encoder(ids, mask).sentence_embedding
    torch.testing.assert_close(embedding[1], mean / mean.norm(), atol=1e-6, rtol=0)
    torch.testing.assert_close(encoder(ids[:1].flip(1), mask[:1]).sentence_embedding, embedding[:1])


@torch.no_grad()
def test_a_fresh_static_encoder_weighs_all_tokens_alike() -> None:
    table = build(spec_of("static")).transformer.embeddings
    assert isinstance(table, StaticEmbeddings)
    assert not table.token_weights.any()


@torch.no_grad()
def test_a_separable_convolution_by_hand() -> None:
    torch.manual_seed(0)
    layer = SeparableConvolution(spec_of("convolution"))
    hidden = torch.randn(1, 12, HIDDEN)
    mask = torch.tensor([[1] * 10 + [0] * 2])
    mixed = layer(hidden, mask)
    filters = layer.depthwise.weight[:, 0]  # (hidden, 7)
    for token in (0, 5, 9):
        reach = range(max(0, token - 3), min(10, token + 4))  # the two last are padding
        near = torch.stack([filters[:, other - token + 3] * hidden[0, other] for other in reach]).sum(0)
        torch.testing.assert_close(mixed[0, token], layer.pointwise(near), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_a_mixing_layer_adds_what_is_mixed_and_then_feeds_forward() -> None:
    layer = seeded(spec_of("convolution")).transformer.encoder.layer[0]
    assert isinstance(layer, MixingLayer)
    hidden, mask = torch.randn(1, 5, HIDDEN, generator=torch.Generator().manual_seed(4)), torch.ones(1, 5)
    normed = layer.LayerNorm(hidden + layer.mixer(hidden, mask))
    inner = torch.nn.functional.gelu(layer.intermediate.dense(normed))
    expected = layer.output.LayerNorm(normed + layer.output.dense(inner))
    torch.testing.assert_close(layer(hidden, mask), expected, atol=1e-6, rtol=1e-5)


def test_the_feature_map_by_hand() -> None:
    values = torch.tensor([-30.0, -1.0, 0.0, 2.0])
    expected = torch.tensor([math.exp(-30), math.exp(-1), 1.0, 3.0])  # elu(-30) + 1 would be 0
    torch.testing.assert_close(positive(values), expected, atol=0, rtol=1e-6)
    assert positive(values.half()).dtype == torch.float32


@torch.no_grad()
def test_linear_attention_is_its_quadratic_formula_and_its_scores_are_its_map() -> None:
    torch.manual_seed(0)
    layer = LinearAttention(spec_of("linear_attention"))
    hidden, mask = torch.randn(1, 6, HIDDEN), torch.tensor([[1, 1, 1, 1, 0, 0]])
    given, size = layer.project(hidden), HIDDEN // HEADS
    maps, parts = [], []
    for head in range(HEADS):
        query, key, value = (part[0, :, head * size : (head + 1) * size] for part in vars(given).values())
        query, key = (torch.where(part > 0, part + 1, part.exp()) for part in (query, key))
        weights = torch.stack([torch.stack([mask[0, j] * query[i] @ key[j] for j in range(6)]) for i in range(6)])
        maps.append(weights / weights.sum(1, keepdim=True))
        parts.append(maps[-1] @ value)
    torch.testing.assert_close(layer(hidden, mask)[0], layer.o(torch.cat(parts, 1)), atol=1e-6, rtol=1e-5)
    bias = (1.0 - mask[:, None, None, :]) * torch.finfo(torch.float32).min
    torch.testing.assert_close(layer.scores(given, bias).softmax(-1)[0], torch.stack(maps), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_a_hybrid_convolves_and_attends_in_turn() -> None:
    encoder = seeded(replace(spec_of("hybrid"), layers=5))
    kinds = [type(layer) for layer in encoder.transformer.encoder.layer]
    assert kinds == [MixingLayer, Layer, MixingLayer, Layer, MixingLayer]
    assert attending("hybrid", 5) == (2, 4)
    ids, mask = batch_of(60)
    before = encoder(ids, mask, hidden_states=True).hidden_states
    ids[0, 0] = 5000
    after = encoder(ids, mask, hidden_states=True).hidden_states
    reach = [int((left != right).any(2)[0].nonzero().max()) for left, right in zip(before, after, strict=True)]
    assert reach[:3] == [0, 3, 59]  # itself, three neighbours, everything


@torch.no_grad()
def test_what_attends_shows_it_and_a_convolution_is_refused(encoder: SentenceEncoder) -> None:
    spec, batch = encoder.spec, batch_of(7, 3)
    have = attending(spec.architecture, spec.layers)
    inside = encoder(*batch, projections=have, scores=have).inside
    assert tuple(inside) == have
    for layer in have:
        assert inside[layer].projections.query.shape == (2, 7, HIDDEN)
        assert inside[layer].scores.shape == (2, HEADS, 7, 7)
    if spec.layers and 1 not in have:
        with pytest.raises(UserError, match=r"layer 1 of a .* encoder is a convolution and has no attention"):
            encoder(*batch, projections=(1,))


def test_a_static_encoder_with_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="a static encoder has no layers"):
        replace(spec_of("static"), layers=1)


# On disk


def test_a_checkpoint_is_rebuilt_from_its_spec_alone(
    encoder: SentenceEncoder, tiny_checkpoint: Path, tiny_rows: Rows, tmp_path: Path
) -> None:
    classifier = checkpoint.load_classifier(tiny_checkpoint, manifest.read(tiny_checkpoint).fields)
    checkpoint.save(tmp_path / "student", encoder, classifier, 64, tiny_checkpoint, {"seed": 5})
    loaded = load_encoder(tmp_path / "student")
    assert loaded.spec == encoder.spec == read_spec(tmp_path / "student")
    assert loaded.state_dict().keys() == encoder.state_dict().keys()
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, encoder.state_dict()[name]), name
    assert np.isfinite(open_pipeline(tmp_path / "student").classify(tiny_rows.texts[:3]).attack_probability).all()
    assert (
        "transformers has no such architecture"
        in json.loads((tmp_path / "student" / "config.json").read_text())["note"]
    )
    with pytest.raises(ValueError, match="does not recognize this architecture"):
        AutoModel.from_pretrained(tmp_path / "student")


def test_the_folder_of_an_mpnet_says_what_it_always_said(tiny_checkpoint: Path) -> None:
    config = json.loads((tiny_checkpoint / "config.json").read_text())
    assert (config["model_type"], config["architectures"]) == ("mpnet", ["MPNetModel"])
    assert "note" not in config
    assert read_spec(tiny_checkpoint).architecture == "mpnet"


# ONNX


@pytest.fixture(scope="module")
def fp32(encoder: SentenceEncoder) -> onnx.ModelProto:
    return graph.to_onnx(encoder)


@pytest.fixture(scope="module")
def quantised(fp32: onnx.ModelProto) -> onnx.ModelProto:
    return int8.quantise(fp32)


def answer(model: onnx.ModelProto, ids: Tensor, mask: Tensor) -> NDArray[np.float32]:
    opened = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    embedding: NDArray[np.float32] = opened.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]
    return embedding


def test_fp32_equals_pytorch_at_any_size(encoder: SentenceEncoder, fp32: onnx.ModelProto) -> None:
    for lengths in ((9, 4), (1,), (2, 300, 40)):
        batch = batch_of(*lengths)
        with torch.no_grad():
            wanted = encoder(*batch).sentence_embedding.numpy()
        np.testing.assert_allclose(answer(fp32, *batch), wanted, atol=1e-5)


def test_int8_stays_close_and_padding_is_cut(
    encoder: SentenceEncoder, fp32: onnx.ModelProto, quantised: onnx.ModelProto
) -> None:
    for length in (4, 40):
        ids, mask = batch_of(length)
        with torch.no_grad():
            wanted = encoder(ids, mask).sentence_embedding.numpy()
        assert (answer(quantised, ids, mask) * wanted).sum(1).min() > 0.99
        longer = torch.ones(1, 512, dtype=torch.int64), torch.zeros(1, 512, dtype=torch.int64)
        for wide, narrow in zip(longer, (ids, mask), strict=True):
            wide[:, :length] = narrow
        for model in (fp32, quantised):
            assert np.array_equal(answer(model, *longer), answer(model, ids, mask))


@pytest.mark.parametrize("precision", ["int8", "int4", "int8_packed"])
def test_token_vectors_alone_have_nothing_to_measure(precision: Format) -> None:
    """A static student without a projection: no product, so no scale."""
    encoder = seeded(replace(spec_of("static"), projection=None))
    texts = [[0, 2000 + place, 5000, 2] for place in range(3)]
    ((_, made),) = precisions.graphs(graph.to_onnx(encoder), [precision], texts)
    ids, mask = batch_of(9)
    with torch.no_grad():
        wanted = encoder(ids, mask).sentence_embedding.numpy()
    assert (answer(made, ids, mask) * wanted).sum(1).min() > 0.95


def test_every_product_with_weights_is_an_integer_one(encoder: SentenceEncoder, quantised: onnx.ModelProto) -> None:
    kinds = Counter(node.op_type for node in quantised.graph.node)
    integer = {"static": 0, "convolution": 6, "hybrid": 9, "linear_attention": 12}
    real = {"static": 0, "convolution": 0, "hybrid": 2, "linear_attention": 6}
    filters = {"convolution": 2, "hybrid": 1}
    name = encoder.spec.architecture
    assert kinds["MatMulIntegerToFloat"] + kinds["MatMulInteger"] == integer[name] + 1  # the projection
    assert kinds["MatMul"] == real[name]
    assert kinds["Conv"] == filters.get(name, 0)
    tables = [tensor for tensor in quantised.graph.initializer if list(tensor.dims) == [30527, HIDDEN]]
    assert len(tables) == 1
    assert tables[0].data_type in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)  # a byte a weight


# Training

TERMS: dict[str, dict[str, Any]] = {
    "static": {},
    "convolution": {"hidden_mse": 1},
    "hybrid": {"hidden_mse": 1, "relations": 1, "relation_heads": 8},
    "linear_attention": {"attention_kl": 5},
}
TRAINING = {
    "num_train_epochs": 3,
    "per_device_train_batch_size": 8,
    "learning_rate": 3.0e-3,
    "head_learning_rate": 1.0e-2,
    "metric_for_best_model": "eval_loss",
    "evaluations_per_epoch": 1,
    "precision": "fp32",
    "logging_steps": 1,
}


@pytest.fixture(scope="module", params=OTHERS)
def trained(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_checkpoint: Path,
    tiny_corpus: Corpus,
    data: dict[str, list[str]],
) -> Run:
    """A student of the architecture, distilled from the tiny checkpoint."""
    output = tmp_path_factory.mktemp(request.param)
    student = {"architecture": request.param, "layers": spec_of(request.param).layers, "init": "random"}
    shape = {"hidden_size": HIDDEN, "attention_heads": HEADS, "intermediate_size": INNER, "max_length": 128}
    whole = {
        "name": "tiny",
        "output": str(output),
        "checkpoint": str(output / "student"),
        "data": data,
        "teacher": {"origin": "pretrained", "name_or_path": str(tiny_checkpoint), "max_length": 128, "training": None},
        "student": student | shape | {"training": TRAINING},
        "losses": {"embedding_cosine": 0, "logits_kd": 0} | TERMS[request.param],
        "targets": {"cache_dir": str(output / "cache")},
    }
    begun = Run(Experiment.model_validate(whole), tiny_corpus, Taxonomy.of(tiny_corpus.splits["train"]), {}, False)
    make_student(begun, make_teacher(begun))
    return begun


def test_the_same_training_teaches_it(trained: Run) -> None:
    steps = sorted((trained.experiment.output / "training" / "student").glob("checkpoint-*"))
    states = [json.loads((folder / "trainer_state.json").read_text()) for folder in steps]
    history = max(states, key=lambda state: state["global_step"])["log_history"]
    for name in trained.experiment.losses.terms():
        values = [entry[f"loss_{name}"] for entry in history if f"loss_{name}" in entry]
        assert np.mean(values[-3:]) < 0.9 * np.mean(values[:3]), name


def test_the_same_export_takes_it(trained: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.work(trained.experiment) == 0
    assert capsys.readouterr().out.count("decisions differ") == 4  # of each graph: alone, and in company
    rows = trained.corpus.splits["validation"]
    for folder in ("student-fp32", "student-int8"):
        decisions = open_pipeline(trained.experiment.output / folder).classify(rows.texts).attack_probability >= 0.5
        assert (decisions == rows.labels).mean() > 0.7


# Configuration and starting weights


def experiment_of(student: dict[str, Any], **losses: Any) -> Experiment:
    whole = {"name": "x", "output": "x", "data": {"synthetic": True}, "student": student, "losses": losses}
    return Experiment.model_validate(whole)


@pytest.mark.parametrize(
    ("student", "message"),
    [
        ({"architecture": "static"}, r"token embeddings without layers: write `layers: 0`"),
        (
            {"architecture": "static", "layers": 0, "sparsity": {"final_sparsity": 0.5}},
            r"`sparsity` puts zeros into layers, and `architecture: static` has none: leave it out",
        ),
        ({"layers": 0}, r"`architecture: mpnet` needs `layers` of at least 1, not 0"),
        ({"architecture": "hybrid", "layers": 1}, r"`architecture: hybrid` needs `layers` of at least 2, not 1"),
        ({"architecture": "convolution", "init": "teacher"}, r"`init: teacher` copies MPNet layers"),
        ({"architecture": "convolution", "hidden_size": 96}, r"gives token embeddings of 384, not 96"),
        ({"architecture": "linear_attention", "init": "random", "attention_heads": 5}, r"attention_heads 5 does not"),
        ({"architecture": "lstm"}, r"Input should be 'mpnet', 'static'"),
    ],
)
def test_combinations_that_mean_nothing_are_refused(student: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Student.model_validate(student)


def test_what_an_architecture_does_not_use_may_have_any_value() -> None:
    Student.model_validate({"architecture": "convolution", "attention_heads": 5, "intermediate_size": 64, "layers": 12})


@pytest.mark.parametrize(
    ("student", "losses", "message"),
    [
        ({"architecture": "static", "layers": 0}, {"hidden_mse": 1}, r"`losses.hidden_mse` compares layers, and"),
        ({"architecture": "static", "layers": 0}, {"relations": 1}, r"`losses.relations` compares layers, and"),
        (
            {"architecture": "convolution"},
            {"relations": 1},
            r"`student.architecture: convolution` has none: set it to 0",
        ),
        ({"architecture": "convolution"}, {"attention_kl": 1}, r"`losses.attention_kl` compares queries, keys"),
        (
            {"architecture": "hybrid"},
            {"attention_mse": 1},
            r"layers 1, 3, 5, which are convolutions; .* 2, 4, 6 attend",
        ),
        (
            {"architecture": "hybrid"},
            {"attention_kl": 1, "layer_map": "last", "last_layers": 2},
            r"student's layers 5, which",
        ),
        (
            {"architecture": "hybrid", "layers": 5},
            {"relations": 1},
            r"layers 5, which are convolutions; .* 2, 4 attend",
        ),
    ],
)
def test_losses_that_compare_what_is_not_there_are_refused(
    student: dict[str, Any], losses: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        experiment_of(student, **losses)


@pytest.mark.parametrize(
    ("student", "losses"),
    [
        ({"architecture": "convolution"}, {"hidden_mse": 1}),
        ({"architecture": "hybrid"}, {"relations": 1}),
        ({"architecture": "hybrid", "layers": 5}, {"relations": 1, "relation_student_layer": 4}),
        ({"architecture": "hybrid"}, {"attention_kl": 1, "layer_map": "last"}),
        ({"architecture": "hybrid"}, {"attention_kl": 1, "layer_map": "pairs", "layer_pairs": [[2, 4], [6, 12]]}),
        ({"architecture": "linear_attention"}, {"relations": 1, "attention_kl": 1, "attention_mse": 1}),
        (
            {},
            {"relations": 1, "attention_kl": 1, "layer_map": "pairs", "layer_pairs": [[9, 4]]},
        ),  # `layer_plan` says it
    ],
)
def test_losses_that_compare_what_is_there_are_accepted(student: dict[str, Any], losses: dict[str, Any]) -> None:
    assert experiment_of(student, **losses).losses.terms()


@pytest.fixture(scope="module")
def minilm() -> SentenceEncoder:
    return minilm_encoder(0)


@pytest.mark.parametrize("architecture", OTHERS)
def test_minilm_gives_its_embeddings(architecture: Architecture, minilm: SentenceEncoder) -> None:
    teacher = build(EncoderSpec(1, 16, 2, 8))
    layers = 0 if architecture == "static" else 2
    config = Student.model_validate(
        {"architecture": architecture, "layers": layers, "intermediate_size": 96, "dropout": 0.25}
    )
    torch.manual_seed(1)
    encoder = initial(config, teacher)
    spec = encoder.spec
    assert (spec.architecture, spec.layers, spec.hidden_size, spec.intermediate_size) == (architecture, layers, 384, 96)
    assert (spec.dropout, spec.embedding_size, spec.layer_norm_eps) == (0.25, 16, 1e-12)
    mine, theirs = (model.transformer.embeddings.state_dict() for model in (encoder, minilm))
    shared = mine.keys() & theirs.keys()
    assert {"word_embeddings.weight", "LayerNorm.weight", "LayerNorm.bias"} <= shared
    assert ("position_embeddings.weight" in shared) == (architecture != "static")
    assert all(torch.equal(mine[name], theirs[name]) for name in shared)
    for layer in encoder.transformer.encoder.layer:
        assert layer.intermediate.dense.weight.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("architecture", OTHERS)
def test_random_has_the_shape_asked_for_and_is_seeded(architecture: Architecture) -> None:
    teacher = build(EncoderSpec(1, 16, 2, 8))
    shape = {"hidden_size": 24, "attention_heads": 3, "intermediate_size": 8, "layers": spec_of(architecture).layers}
    config = Student.model_validate({"architecture": architecture, "init": "random", "projection": False, **shape})
    torch.manual_seed(1)
    first = initial(config, teacher)
    torch.manual_seed(1)
    again = initial(config, teacher)
    assert first.spec == replace(teacher.spec, architecture=architecture, dropout=0.0, **shape)
    assert all(torch.equal(left, right) for left, right in zip(first.parameters(), again.parameters(), strict=True))
