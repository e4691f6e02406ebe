"""export.int8: the structure of the graphs, their integers, fixed scales, and embeddings that no company changes."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from core.architectures import Architecture
from core.errors import UserError
from core.grid import Grid
from core.integers import quantise as to_integers
from core.model import SentenceEncoder
from export import graph, int8
from export.int8.centre import find_normed
from export.int8.observe import Observed
from export.int8.products import find_activations, find_products
from export.int8.ranges import LEVELS, Histogram, best_scale
from export.int8.rows import round_rows
from export.int8.sigmoid import SLOPE, approximation
from export.int8.watch import watch
from export.writer import Writer
from tests.export_factory import (
    HIDDEN,
    LAYERS,
    batch_of,
    constants,
    embeddings,
    opened,
    random_encoder,
    random_texts,
)

VOCABULARY = 30527
KINDS = ("static", "dynamic", "avx2")


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return random_encoder(3, projection=40)


@pytest.fixture(scope="module")
def fp32(encoder: SentenceEncoder) -> onnx.ModelProto:
    return graph.to_onnx(encoder)


@pytest.fixture(scope="module")
def observed(fp32: onnx.ModelProto) -> Observed:
    lengths = np.random.default_rng(1).integers(2, 60, 40).tolist()
    return int8.observe(fp32, random_texts(lengths, seed=1))


@pytest.fixture(scope="module")
def models(fp32: onnx.ModelProto, observed: Observed) -> dict[str, onnx.ModelProto]:
    return {
        "static": int8.quantise(fp32, observed),
        "dynamic": int8.quantise(fp32),
        "avx2": int8.quantise(fp32, observed, reduce_range=True),
    }


@pytest.fixture(scope="module", params=KINDS)
def quantised(request: pytest.FixtureRequest, models: dict[str, onnx.ModelProto]) -> onnx.ModelProto:
    return models[request.param]


def products(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == "MatMulIntegerToFloat"]


# Structure


def test_every_product_with_weights_is_an_integer_one(quantised: onnx.ModelProto) -> None:
    # Per layer queries, keys, values, the output and the two feed-forward matrices; once the projection.
    assert len(products(quantised)) == 6 * LAYERS + 1
    plain = [node for node in quantised.graph.node if node.op_type == "MatMul"]
    assert [node.output[0] for node in plain] == ["pooled"]
    assert sum(node.op_type == "Attention" for node in quantised.graph.node) == LAYERS
    assert not {"Gemm", "MatMulInteger", "QLinearMatMul"} & {node.op_type for node in quantised.graph.node}


def test_versions_are_stated(quantised: onnx.ModelProto) -> None:
    assert {entry.domain: entry.version for entry in quantised.opset_import} == {"": 23, "com.microsoft": 1}
    assert quantised.ir_version == 10


def test_fixed_scales_take_nothing_from_the_batch(models: dict[str, onnx.ModelProto]) -> None:
    for kind, dynamic in (("static", 0), ("avx2", 0), ("dynamic", 4 * LAYERS + 1)):
        kinds = Counter(node.op_type for node in models[kind].graph.node)
        assert kinds["DynamicQuantizeLinear"] == dynamic
        assert kinds["QuantizeLinear"] == 4 * LAYERS + 1 - dynamic
    known = constants(models["static"])
    for node in models["static"].graph.node:
        if node.op_type == "QuantizeLinear":
            assert node.domain == "com.microsoft"  # onnxruntime 1.23 has no other in this opset
            assert known[node.input[1]].dtype == np.float32
            assert known[node.input[2]].dtype == np.uint8


def test_queries_keys_and_values_read_one_rounding(quantised: onnx.ModelProto) -> None:
    readers = Counter(node.input[0] for node in products(quantised))
    assert sorted(readers.values()) == [*[1] * (3 * LAYERS + 1), *[3] * LAYERS]


def test_products_are_u8s8_with_a_scale_per_channel(models: dict[str, onnx.ModelProto]) -> None:
    for model in models.values():
        known = constants(model)
        rounding = {n.output[0] for n in model.graph.node if n.op_type.endswith("QuantizeLinear")}
        for node in products(model):
            integers, scales = known[node.input[1]], known[node.input[3]]
            assert node.input[0] in rounding
            assert integers.dtype == np.int8
            assert scales.shape == (integers.shape[1],)
            assert (len(node.input) <= 5) or not node.input[5]  # symmetric: no zero point of the weights


@pytest.mark.parametrize(("kind", "largest"), [("static", 127), ("avx2", 64)])
def test_weights_of_the_avx2_graph_have_seven_bits(models: dict[str, onnx.ModelProto], kind: str, largest: int) -> None:
    """255 * 64 * 2 fits 16 bits, where AVX2 adds two products; 255 * 127 * 2 does not."""
    known = constants(models[kind])
    for node in products(models[kind]):
        assert np.abs(known[node.input[1]].astype(int)).max(0).tolist() == [largest] * known[node.input[1]].shape[1]
    assert (255 * 64 * 2 < 2**15) < (255 * 127 * 2)


def test_integers_are_those_that_training_rounds_to(
    models: dict[str, onnx.ModelProto], encoder: SentenceEncoder
) -> None:
    assert encoder.projection is not None
    wanted = to_integers(encoder.projection.weight, Grid())
    known = constants(models["static"])
    np.testing.assert_array_equal(known["projection weight integers"], wanted.integers.numpy().T)
    np.testing.assert_array_equal(known["projection weight steps"], wanted.scales.numpy()[:, 0])


def test_word_embeddings_take_one_byte_and_small_tables_four(
    quantised: onnx.ModelProto, encoder: SentenceEncoder
) -> None:
    known = constants(quantised)
    tables = {name: table for name, table in known.items() if table.shape == (VOCABULARY, HIDDEN)}
    assert {table.dtype for table in tables.values()} == {np.dtype(np.int8)}
    assert known["places"].dtype == known["bias after"].dtype == np.float32
    scales = known["word embeddings scales"]
    table = encoder.transformer.embeddings.word_embeddings.weight.detach().numpy()
    np.testing.assert_allclose(known["word embeddings integers"] * scales, table, atol=float(scales.max()) / 2)


def test_int8_is_about_a_quarter_of_the_size(fp32: onnx.ModelProto, quantised: onnx.ModelProto) -> None:
    assert quantised.ByteSize() < 0.3 * fp32.ByteSize()


# What it computes


def test_int8_is_nearly_the_same(fp32: onnx.ModelProto, quantised: onnx.ModelProto) -> None:
    for lengths in ((2,), (17, 4), (200,)):
        batch = batch_of(random_texts(lengths, seed=5))
        exact, rounded = embeddings(fp32, batch), embeddings(quantised, batch)
        assert (exact * rounded).sum(1).min() > 0.98
        assert not np.array_equal(exact, rounded)


def alone_and_together(model: onnx.ModelProto, texts: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
    """Each text alone, each padded to 512, all in one batch; (texts, dim) each."""
    session = opened(model)

    def run(part: Sequence[Sequence[int]], width: int | None = None) -> NDArray[np.float32]:
        found: NDArray[np.float32] = session.run(["sentence_embedding"], batch_of(part, width))[0]
        return found

    return [
        np.concatenate([run([text]) for text in texts]),
        np.concatenate([run([text], 512) for text in texts]),
        run(texts),
    ]


def test_neither_padding_nor_company_changes_an_embedding(models: dict[str, onnx.ModelProto]) -> None:
    texts = random_texts(np.random.default_rng(2).integers(1, 70, 64).tolist(), seed=2)
    for kind in ("static", "avx2"):
        alone, padded, together = alone_and_together(models[kind], texts)
        assert np.array_equal(alone, padded)
        # A sum in another order may send a value to the next of 256 steps; the dynamic graph is a hundred times as far.
        assert np.abs(alone - together).max() < 2e-3
        assert np.median(np.abs(alone - together).max(1)) < 1e-6
    alone, _, together = alone_and_together(models["dynamic"], texts)
    assert np.median(np.abs(alone - together).max(1)) > 1e-4


def test_gelu_is_approximated_where_scales_are_fixed(
    models: dict[str, onnx.ModelProto], fp32: onnx.ModelProto, observed: Observed
) -> None:
    for kind, sigmoid, exact in (("static", LAYERS, 0), ("avx2", LAYERS, 0), ("dynamic", 0, LAYERS)):
        kinds = Counter(node.op_type for node in models[kind].graph.node)
        assert (kinds["QuickGelu"], kinds["Gelu"]) == (sigmoid, exact)
    assert len(find_activations(fp32)) == LAYERS
    quick = [node for node in models["static"].graph.node if node.op_type == "QuickGelu"]
    assert all(onnx.helper.get_node_attr_value(node, "alpha") == 1.0 for node in quick)  # the fast kernel
    # What enters it is SLOPE times as large, and what is left of GELU on average stands in the next product's bias.
    known, before = constants(models["static"]), constants(fp32)
    np.testing.assert_allclose(
        known["layer 0 inner weight offsets"], before["layer 0 inner bias"] * np.float32(SLOPE), rtol=1e-6
    )
    shortfall = observed.shortfalls["layer 0 active"]
    assert 0 < np.abs(shortfall).max() < 0.021
    np.testing.assert_allclose(
        known["layer 0 outer weight offsets"],
        before["layer 0 outer bias"] + shortfall @ before["layer 0 outer weight"],
        rtol=1e-5,
    )


def test_the_sigmoid_is_close_to_gelu() -> None:
    values = np.linspace(-90, 90, 20001, dtype=np.float32)
    exact = torch.nn.functional.gelu(torch.from_numpy(values)).numpy()
    assert np.abs(approximation(values) - exact).max() < 0.021


@pytest.mark.parametrize("architecture", ["hybrid", "convolution", "linear_attention", "static"])
def test_traced_graphs_are_rewritten_alike(architecture: Architecture) -> None:
    model = graph.to_onnx(random_encoder(4, 40, architecture))
    texts = random_texts(np.random.default_rng(3).integers(2, 60, 20).tolist(), seed=3)
    fixed = int8.quantise(model, int8.observe(model, texts))
    kinds = Counter(node.op_type for node in fixed.graph.node)
    assert kinds["MatMulIntegerToFloat"] == len(find_products(model))
    assert kinds["QuickGelu"] == (0 if architecture == "static" else LAYERS)
    assert kinds["DynamicQuantizeLinear"] == 0
    batch = batch_of(random_texts((17, 4, 40), seed=5))
    assert (embeddings(model, batch) * embeddings(fixed, batch)).sum(1).min() > 0.98
    alone, padded, together = alone_and_together(fixed, random_texts((17, 4, 40), seed=5))
    assert np.array_equal(alone, padded)
    np.testing.assert_allclose(together, alone, atol=2e-3)


# What is found and watched


def test_products_are_found_with_their_biases_and_nothing_else(fp32: onnx.ModelProto) -> None:
    found = find_products(fp32)
    assert len(found) == 6 * LAYERS + 1
    assert [product.output for product in found if product.bias is None] == ["projection product"]
    assert found[0].states == "embeddings states"
    assert found[0].weight == "layer 0 attention queries weight"
    assert found[0].nodes == ("layer 0 attention queries product", "layer 0 attention queries")


def test_a_sum_that_others_read_too_is_no_bias() -> None:
    """x @ w is an output itself: the Add behind it must stay."""
    writer = Writer()
    product = writer.add("MatMul", ["x", writer.constant("w", np.eye(2, dtype=np.float32))], "product")
    writer.add("Add", [product, writer.constant("b", np.ones(2, np.float32))], "sum")
    info = onnx.helper.make_tensor_value_info
    given, *results = (info(name, onnx.TensorProto.FLOAT, ["rows", 2]) for name in ("x", "product", "sum"))
    model = writer.model([given], results)
    (found,) = find_products(model)
    assert (found.bias, found.output, found.nodes) == (None, "product", ("product",))
    rows = np.array([[1.0, -2.0]], np.float32)
    plain, summed = opened(int8.quantise(model)).run(None, {"x": rows})
    np.testing.assert_allclose(plain, rows, atol=0.02)
    np.testing.assert_allclose(summed, rows + 1, atol=0.02)


def test_what_is_pooled_gets_a_scale_for_each_row(observed: Observed, fp32: onnx.ModelProto) -> None:
    assert observed.pooled == {"sum"}
    assert set(observed.scales) == {product.states for product in find_products(fp32)} - {"sum"}


def test_rows_of_any_size_keep_their_direction() -> None:
    writer = Writer()
    (integers, _, zero_point), factor = round_rows(writer, "rows")
    info, float_type = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    model = writer.model(
        [info("rows", float_type, ["texts", 3])],
        [info(integers, onnx.TensorProto.UINT8, ["texts", 3]), info(factor, float_type, ["texts", 1])],
    )
    rows = np.array([[1, -1, 0.5], [-1000, 500, 0], [0, 0, 0]], np.float32)
    found, factors = opened(model).run(None, {"rows": rows})
    assert constants(model)[zero_point] == 128
    assert found.tolist() == [[255, 1, 192], [1, 192, 128], [128, 128, 128]]  # 63.5 goes to the even 64
    np.testing.assert_array_equal(factors[:2], [[1], [1000]])


def test_watching_without_texts_or_with_nan_is_refused(encoder: SentenceEncoder, fp32: onnx.ModelProto) -> None:
    with pytest.raises(UserError, match=r"fixed activation scales need texts .* data\.train"):
        int8.observe(fp32, [])
    broken = random_encoder(3, projection=40)
    with torch.no_grad():
        broken.transformer.embeddings.word_embeddings.weight.fill_(torch.nan)
    with pytest.raises(UserError, match="NaN or infinite values on a training text"):
        int8.observe(graph.to_onnx(broken), random_texts([3]))


# Centring


def test_centring_changes_biases_and_not_the_function(fp32: onnx.ModelProto, encoder: SentenceEncoder) -> None:
    texts = random_texts([5, 20, 40], seed=6)
    assert [one.states for one in find_normed(fp32)] == [
        "embeddings states",
        "layer 0 attention states",
        "layer 0 output states",
        "layer 1 attention states",  # and not the last ones, which leave the graph
    ]
    centred = int8.centre(fp32, texts)
    assert [node.output[0] for node in centred.graph.node] == [node.output[0] for node in fp32.graph.node]
    before, behind = constants(fp32), constants(centred)
    changed = {name for name in before if not np.array_equal(before[name], behind[name])}
    assert changed
    assert all(name.endswith(" bias") for name in changed)
    batch = batch_of(random_texts((17, 4), seed=8))
    np.testing.assert_allclose(embeddings(centred, batch), embeddings(fp32, batch), atol=1e-5)
    name = "layer 0 attention states"
    seen = np.concatenate([values[name][0] for values in watch(centred, [name], texts)])  # (tokens, channels)
    np.testing.assert_allclose(seen.min(0), -seen.max(0), atol=1e-4)


def test_a_channel_far_from_zero_no_longer_decides_the_scale() -> None:
    encoder = random_encoder(3, projection=40)
    with torch.no_grad():
        dict(encoder.named_parameters())["transformer.encoder.layer.0.attention.LayerNorm.bias"][7] = 20
    model, texts = graph.to_onnx(encoder), random_texts([5, 20, 40], seed=6)
    before, behind = (int8.observe(one, texts).scales for one in (model, int8.centre(model, texts)))
    moved = "layer 0 attention states"
    assert behind[moved].scale < 0.5 * before[moved].scale
    assert behind["layer 0 active"].scale == pytest.approx(before["layer 0 active"].scale, rel=0.05)


def test_what_others_read_is_not_moved(fp32: onnx.ModelProto) -> None:
    other = onnx.ModelProto()
    other.CopyFrom(fp32)
    other.graph.node.append(onnx.helper.make_node("Abs", ["layer 0 attention states"], ["elsewhere"]))
    assert "layer 0 attention states" not in [one.states for one in find_normed(other)]


# Ranges


def test_a_histogram_grows_and_forgets_nothing() -> None:
    histogram = Histogram()
    values = np.random.default_rng(0).normal(0, 0.2, 1000).astype(np.float32)
    histogram.add(values)
    histogram.add(np.array([[-9.0, 5.0]], np.float32))
    assert histogram.limit == 16
    assert histogram.counts.sum() == 1002
    mean = float(histogram.counts @ histogram.centres()) / 1002
    assert mean == pytest.approx((values.sum() - 4) / 1002, abs=16 / len(histogram.counts))
    seen = histogram.centres()[np.flatnonzero(histogram.counts)]
    np.testing.assert_allclose(seen[[0, -1]], [-9, 5], atol=2 * 16 / len(histogram.counts))


def test_even_values_keep_their_range_and_rare_large_ones_are_weighed() -> None:
    even = Histogram()
    even.add(np.linspace(-1, 3, 100_000, dtype=np.float32))
    scale = best_scale(even)
    assert scale.scale == pytest.approx(4 / LEVELS, rel=0.01)
    assert scale.zero_point == round(LEVELS / 4)
    # One value in a million at 40: to keep it would cost each of the others more than clipping it costs.
    rare, often = Histogram(), Histogram()
    values = np.random.default_rng(0).normal(0, 1, 1_000_000).astype(np.float32)
    for histogram, count in ((rare, 1), (often, 1000)):
        histogram.add(values)
        histogram.add(np.full(count, 40, np.float32))
    assert best_scale(rare).scale * LEVELS < 25
    assert best_scale(often).scale * LEVELS > 40


def test_zero_is_exact_whatever_the_range() -> None:
    for values in ([1.0, 2.0], [-2.0, -1.0], [0.0]):
        histogram = Histogram()
        histogram.add(np.array(values, np.float32))
        scale = best_scale(histogram)
        assert 0 <= scale.zero_point <= LEVELS
    assert best_scale(Histogram()).scale == 1.0
