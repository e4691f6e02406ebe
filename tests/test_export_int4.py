"""export.int4, export.codec: integers that come back whole, errors made good, grids found again, INT8's own graph."""

import copy
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from core import fake_quant
from core.architectures import Architecture
from core.grid import Grid
from core.integers import Quantised, dequantise
from core.integers import quantise as to_integers
from core.model import EncoderSpec, SentenceEncoder, build
from core.schema.compression import FakeQuantisation
from core.schema.serving import FourBits
from export import codec, graph, int4, int8, precision
from export.int4 import nbits, trained
from export.int4.compensate import compensated
from export.int4.moments import measure
from export.int4.rest import in_bytes
from export.int4.steps import nearest, weighted_steps
from export.int4.table import look_up_packed
from export.int8 import tables
from export.int8.observe import Observed
from export.int8.watch import watch
from export.writer import Writer
from tests.export_factory import HEADS, HIDDEN, INNER, LAYERS, batch_of, constants, embeddings, optimised

BLOCKS = Grid(4, 16, whole_multiples=True)
SETTINGS = FourBits(block_size=16)
VOCABULARY = 2000  # so few that rounding takes no time


def texts_of(lengths: list[int], seed: int) -> list[list[int]]:
    generator = np.random.default_rng(seed)
    return [generator.integers(0, VOCABULARY, length).tolist() for length in lengths]


TEXTS = texts_of(np.random.default_rng(1).integers(2, 60, 24).tolist(), seed=1)
VALIDATION = batch_of(texts_of([17, 4, 30], seed=5))


@pytest.fixture(scope="module", autouse=True)
def _small_tables_count() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "BIG", 50_000)
        yield


def small(architecture: Architecture = "mpnet") -> SentenceEncoder:
    """Random weights, every one of which matters."""
    encoder = build(EncoderSpec(LAYERS, HIDDEN, HEADS, INNER, VOCABULARY, architecture=architecture))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.1 * noise if "LayerNorm.weight" in name else 0.1 * noise)
    return encoder.eval()


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return small()


@pytest.fixture(scope="module")
def fp32(encoder: SentenceEncoder) -> onnx.ModelProto:
    return graph.to_onnx(encoder)


@pytest.fixture(scope="module")
def observed(fp32: onnx.ModelProto) -> Observed:
    return int8.observe(fp32, TEXTS)


@pytest.fixture(scope="module")
def quantised(fp32: onnx.ModelProto, observed: Observed) -> onnx.ModelProto:
    return int4.quantise(fp32, observed, TEXTS, SETTINGS)


# Codec


def unpacked(writer: Writer, name: str, shape: tuple[int, ...], folder: Path) -> NDArray[np.int8]:
    """The tensor as a session holds it; one constant must be left of all that unpacks it."""
    writer.add("Identity", [name], "out")
    model = writer.model([], [helper.make_tensor_value_info("out", TensorProto.INT8, shape)])
    left = optimised(model, folder)
    assert [node.op_type for node in left.graph.node] in ([], ["Identity"])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: NDArray[np.int8] = session.run(None, {})[0]
    return found


@pytest.mark.parametrize(("low", "high", "kind"), [(-8, 7, TensorProto.INT4), (0, 15, TensorProto.UINT4)])
def test_nibbles_come_back(low: int, high: int, kind: int, tmp_path: Path) -> None:
    integers = np.arange(low, high + 1, dtype=np.int8).repeat(3)[:-1].reshape(1, 47)  # an odd number of them
    writer = Writer()
    codec.nibbles(writer, "four", integers)
    (held,) = writer.constants.values()
    assert held.data_type == kind
    assert len(held.raw_data) == 24
    assert np.array_equal(unpacked(writer, "four", (1, 47), tmp_path), integers)


@pytest.mark.parametrize("integers", [[-9, 0], [16, 3], [-1, 8]])
def test_what_has_more_bits_is_refused(integers: list[int]) -> None:
    with pytest.raises(ValueError, match="do not fit in four bits"):
        codec.nibbles(Writer(), "x", np.array(integers))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("columns", [48, 41])  # 41: the last block of 16 is not full
def test_blocks_times_multiples_come_back(transposed: bool, columns: int, tmp_path: Path) -> None:
    weight = torch.randn(6, columns, generator=torch.Generator().manual_seed(1))
    found = to_integers(weight, BLOCKS)
    writer = Writer()
    codec.pack(writer, "matrix", found, BLOCKS, transposed)
    shape = (columns, 6) if transposed else (6, columns)
    integers = unpacked(writer, "matrix", shape, tmp_path)
    values = (integers.T if transposed else integers) * found.scales.numpy()
    np.testing.assert_allclose(values, dequantise(found, BLOCKS).numpy(), rtol=1e-6)


# Rounding


def test_steps_by_hand() -> None:
    """An outlier that does not matter is clipped; one that does is not."""
    step = 0.76 * 10 / 7  # 0.76 is one of the shares that are tried
    weight = torch.tensor([[7 * step, -6 * step, 5 * step, 10.0]])
    grid = Grid(4, search=True)
    careless = nearest(weight, weighted_steps(weight, torch.tensor([1.0, 1.0, 1.0, 0.0]), grid), grid)
    assert careless.scales.item() == pytest.approx(step, rel=1e-6)
    assert careless.integers.tolist() == [[7, -6, 5, 7]]
    careful = weighted_steps(weight, torch.tensor([0.0, 0.0, 0.0, 1.0]), grid)
    assert careful.scales.item() == pytest.approx(10 / 7)


def test_searched_multiples_are_no_worse_than_the_smallest() -> None:
    weight = torch.randn(20, 40, generator=torch.Generator().manual_seed(2))
    for grid in (BLOCKS, Grid(4)):
        plain = dequantise(to_integers(weight, grid), grid)
        searched = dequantise(nearest(weight, weighted_steps(weight, torch.ones(40), grid), grid), grid)
        assert ((searched - weight).square().sum(1) <= (plain - weight).square().sum(1) + 1e-6).all()
        assert (searched - weight).square().sum() < (plain - weight).square().sum()


def test_an_error_is_made_good_by_hand() -> None:
    """Two inputs that are always equal: only the sum of their weights counts, 0.4 + 0.4 of a step is 1 and not 0."""
    weight = torch.tensor([[7.0, 0.4, 0.4]])
    covariance = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.999999], [0.0, 0.999999, 1.0]], dtype=torch.float64)
    assert to_integers(weight, Grid(4)).integers.tolist() == [[7, 0, 0]]
    assert sorted(compensated(weight, covariance, Grid(4)).integers[0].tolist()) == [0, 1, 7]


def test_compensated_rounding_halves_the_error_of_the_output() -> None:
    generator = torch.Generator().manual_seed(4)
    weight, mixing = torch.randn(24, 64, generator=generator), torch.randn(64, 8, generator=generator)
    covariance = (mixing @ mixing.T + 0.05 * torch.eye(64)).double()

    def error(found: Quantised, grid: Grid) -> float:
        away = (dequantise(found, grid) - weight).double()
        return float(((away @ covariance) * away).sum())

    for grid in (BLOCKS, Grid(4)):
        found = compensated(weight, covariance, grid)
        assert int(found.integers.abs().max()) <= 7
        steps = weighted_steps(weight, covariance.diagonal().float(), grid)
        assert error(found, grid) < 0.5 * error(nearest(weight, steps, grid), grid)


def test_a_constant_input_and_one_that_is_always_zero_are_no_trouble() -> None:
    weight = torch.randn(4, 16, generator=torch.Generator().manual_seed(4))
    found = compensated(weight, torch.zeros(16, 16, dtype=torch.float64), Grid(4))
    assert torch.isfinite(found.scales).all()
    assert (dequantise(found, Grid(4)) - weight).abs().max() < 0.5


def test_moments_are_those_of_the_tokens(fp32: onnx.ModelProto) -> None:
    found = measure(fp32, TEXTS[:5])
    name = "layer 1 active"
    rows = np.concatenate([values[name][0] for values in watch(fp32, [name], TEXTS[:5])])
    np.testing.assert_allclose(found[name].mean.numpy(), rows.mean(0), atol=1e-5)
    np.testing.assert_allclose(found[name].covariance.numpy(), np.cov(rows.T, bias=True), atol=1e-4)


# What was trained to lie on a grid

TRAINED = {
    "rows": {},
    "blocks": {"block_size": 16, "whole_multiples": True},
    "wider blocks": {"block_size": 32, "whole_multiples": True},
    "learned": {"step": "learned"},
}


@pytest.mark.parametrize("kind", TRAINED)
def test_integers_of_training_are_found_again(kind: str, encoder: SentenceEncoder, observed: Observed) -> None:
    student = copy.deepcopy(encoder)
    settings = FakeQuantisation(bits=4, embedding_bits=4, **TRAINED[kind])  # type: ignore[arg-type]
    fake_quant.apply(student, settings)
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            if name.endswith("scales"):
                parameter.mul_(0.8)
    fake_quant.remove(student)
    written = graph.to_onnx(student)
    model = int4.quantise(written, observed, TEXTS[:2], SETTINGS)
    plain, held = constants(written), constants(int8.quantise(written, observed))
    for name, offset in constants(model).items():
        if name.endswith(" offsets"):  # no error was left for the bias to take back
            np.testing.assert_allclose(offset, held[name], atol=1e-5)
    for weight in ("layer 1 outer weight", "word embeddings"):
        np.testing.assert_allclose(stands_for(model, weight), plain[weight], rtol=1e-5, atol=1e-7)


def stands_for(model: onnx.ModelProto, name: str) -> NDArray[np.float32]:
    """The matrix of the FP32 graph that a packed one stands for."""
    known = constants(model)
    if name == "word embeddings":
        session = onnxruntime.InferenceSession(looking_up(model).SerializeToString())
        rows: NDArray[np.float32] = session.run(["words"], {"input_ids": np.arange(VOCABULARY)[None]})[0][0]
        return rows
    multiples = known.get(f"{name} integers multiples in 4 bits")
    if multiples is None:
        integers = known[f"{name} integers in 4 bits"].astype(np.int32)
    else:
        in_blocks = known[f"{name} integers codes in 4 bits"].astype(np.int32) * multiples.astype(np.int32)
        integers = in_blocks.reshape(-1, in_blocks.shape[-1])
    values: NDArray[np.float32] = (integers * known[f"{name} steps"]).astype(np.float32)
    return values


def looking_up(model: onnx.ModelProto) -> onnx.ModelProto:
    """The part of the graph that looks up the words of `input_ids`."""
    needed = {"words"}
    nodes: list[onnx.NodeProto] = []
    for node in reversed(model.graph.node):
        if needed & {*node.output} and node.output[0] != "ids":
            nodes.insert(0, node)
            needed |= {*node.input}
    writer = Writer(model.graph.initializer)
    writer.nodes = [helper.make_node("Identity", ["input_ids"], ["ids"]), *nodes]
    return writer.model(
        model.graph.input[:1], [helper.make_tensor_value_info("words", TensorProto.FLOAT, ["b", "t", HIDDEN])]
    )


def test_what_was_not_trained_so_is_on_no_grid() -> None:
    weight = torch.randn(40, 32, generator=torch.Generator().manual_seed(2))
    assert trained.find(weight, [BLOCKS, Grid(4, search=True)]) is None
    rounded = dequantise(to_integers(weight, BLOCKS), BLOCKS)
    found = trained.find(rounded, [Grid(4, search=True), BLOCKS])
    assert found is not None
    assert found[1] == BLOCKS
    rounded[35, 3] += 0.02  # beyond the rows that are looked at first
    assert trained.find(rounded, [BLOCKS]) is None


def test_ranges_of_a_training_take_the_place_of_observed_ones(fp32: onnx.ModelProto, observed: Observed) -> None:
    layer = "transformer.encoder.layer.1.intermediate.dense"
    found = int8.as_trained(
        fp32, observed, {layer: {"scale": 0.25, "zero_point": 9}, "projection": {"scale": 1.0, "zero_point": 0}}
    )
    changed = {name for name, scale in found.scales.items() if scale != observed.scales[name]}
    assert changed == {"layer 1 attention states"}
    assert (found.scales["layer 1 attention states"].scale, found.scales["layer 1 attention states"].zero_point) == (
        0.25,
        9,
    )
    model = constants(int8.quantise(fp32, found))
    assert model["layer 1 attention states scale"] == np.float32(0.25)
    assert model["layer 1 attention states zero point"] == 9


def test_every_layer_of_a_training_has_its_product(
    fp32: onnx.ModelProto, observed: Observed, encoder: SentenceEncoder
) -> None:
    layers = [name for name, part in encoder.named_modules() if isinstance(part, torch.nn.Linear)]
    assert len(layers) == 6 * LAYERS
    found = int8.as_trained(fp32, observed, {name: {"scale": 0.5, "zero_point": 1} for name in layers})
    assert {scale.scale for scale in found.scales.values()} == {0.5}


# The graph


def test_weights_and_table_are_held_in_four_bits(quantised: onnx.ModelProto, fp32: onnx.ModelProto) -> None:
    kinds: Counter[int] = Counter()
    for tensor in quantised.graph.initializer:
        kinds[tensor.data_type] += int(np.prod(tensor.dims))
    weights = LAYERS * (4 * HIDDEN * HIDDEN + 2 * HIDDEN * INNER)
    assert kinds[TensorProto.INT4] == weights
    assert kinds[TensorProto.UINT8] == VOCABULARY * HIDDEN // 2 + 2 + 4 * LAYERS  # two masks, and zero points
    assert kinds[TensorProto.UINT4] == (weights + VOCABULARY * HIDDEN) // 16
    assert kinds[TensorProto.INT8] == 0
    assert kinds[TensorProto.FLOAT16] == VOCABULARY  # scales of its rows
    for tensor in quantised.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            assert np.prod(tensor.dims) < 50_000, tensor.name


def test_it_runs_as_int8(quantised: onnx.ModelProto, fp32: onnx.ModelProto, observed: Observed, tmp_path: Path) -> None:
    four, eight = (
        Counter(node.op_type for node in optimised(model, tmp_path).graph.node)
        for model in (quantised, int8.quantise(fp32, observed))
    )
    for kind in ("Gather", "BitwiseAnd", "BitShift", "Concat", "Cast", "Sub", "Reshape", "Mul"):  # the look-up alone
        del four[kind], eight[kind]
    assert four == eight
    assert four["MatMulIntegerToFloat"] == 6 * LAYERS
    assert optimised(quantised, tmp_path).ByteSize() < 1.1 * int8.quantise(fp32, observed).ByteSize()


@pytest.mark.parametrize("grid", [Grid(4), BLOCKS, Grid(4, 24, whole_multiples=True)])  # 24: a part of a last block
@pytest.mark.parametrize("columns", [64, 33])
def test_rows_of_a_packed_table(grid: Grid, columns: int) -> None:
    table = torch.randn(50, columns, generator=torch.Generator().manual_seed(1))
    found = to_integers(table, grid)
    writer = Writer()
    node = helper.make_node("Gather", ["table", "ids"], ["rows"])
    look_up_packed(writer, node, found, grid)
    inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "tokens"])]
    model = writer.model(inputs, [helper.make_tensor_value_info("rows", TensorProto.FLOAT, [])])
    ids = np.array([[3, 3, 49], [0, 1, 2]])
    rows = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"ids": ids})[0]
    np.testing.assert_allclose(rows, dequantise(found, grid).numpy()[ids], rtol=1e-6)


def test_large_rest_is_held_in_bytes(tmp_path: Path) -> None:
    """Such as positions: FP32 again when the session stands, with the error of eight bits."""
    writer = Writer()
    matrix = np.random.default_rng(0).normal(size=(200, 300)).astype(np.float32)
    writer.add("MatMul", ["x", writer.constant("places", matrix)], "y")
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 200])]
    plain = writer.model(inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 300])])
    model = in_bytes(plain)
    assert model.ByteSize() < 0.3 * plain.ByteSize()
    left = optimised(model, tmp_path)
    assert [node.op_type for node in left.graph.node] == ["MatMul"]
    (held,) = constants(left).values()
    assert held.dtype == np.float32
    largest = np.abs(matrix).max(1, keepdims=True)
    assert (np.abs(held - matrix) <= largest / 127 * 0.5001).all()


def test_embeddings_are_near_and_the_nearer_the_more_is_done(
    fp32: onnx.ModelProto, observed: Observed, quantised: onnx.ModelProto
) -> None:
    exact = embeddings(fp32, VALIDATION)
    rounded = int4.quantise(fp32, observed, TEXTS, FourBits(block_size=None, rounding="nearest"))
    searched = int4.quantise(fp32, observed, TEXTS, FourBits(block_size=16, rounding="searched"))
    cosines = [float((exact * embeddings(model, VALIDATION)).sum(1).mean()) for model in (rounded, searched, quantised)]
    assert cosines == sorted(cosines)
    assert cosines[-1] > 0.97


def test_padding_changes_nothing(quantised: onnx.ModelProto) -> None:
    for text in texts_of([5, 40], seed=8):
        alone, padded = (embeddings(quantised, batch_of([text], width)) for width in (None, 512))
        assert np.array_equal(alone, padded)


def test_a_traced_graph_takes_it_too() -> None:
    encoder = small("convolution")
    (found,) = (model for _, model in precision.graphs(graph.to_onnx(encoder), ("int4",), TEXTS[:4], SETTINGS))
    assert {entry.domain: entry.version for entry in found.opset_import}[""] >= 21
    assert any(tensor.data_type == TensorProto.INT4 for tensor in found.graph.initializer)
    assert np.isfinite(embeddings(found, VALIDATION)).all()


# Comparison


@pytest.mark.parametrize("method", ["rtn", "hqq", "gptq"])
def test_onnxruntimes_own_four_bits(
    method: nbits.Method, fp32: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx_ir")
    monkeypatch.setattr(nbits, "BLOCK", 32)
    model = nbits.quantise(fp32, method, TEXTS[:2])
    kinds = Counter(node.op_type for node in model.graph.node)
    assert (kinds["MatMulNBits"], kinds["GatherBlockQuantized"], kinds["MatMul"]) == (6 * LAYERS, 1, 1)
    exact, rounded = embeddings(fp32, VALIDATION), embeddings(model, VALIDATION)
    assert (exact * rounded).sum(1).min() > 0.8
