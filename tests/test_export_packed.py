"""export.codec.nonzero, export.stored: zeros left out of the file, the same outputs, one INT8 constant in a session."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import yaml
from numpy.typing import NDArray
from onnx import TensorProto, helper

from core.architectures import Architecture
from core.grid import Grid
from core.integers import quantise
from core.model import EncoderSpec, SentenceEncoder, build
from core.schema import Data, Experiment, Parity
from core.schema.serving import Export, Format, FourBits
from export import codec, graph, precision, stored
from export import run as export_run
from export.codec.blocks import Hold
from export.codec.nonzero import OVERHEAD, gaps, packed_bytes
from export.int4.compensate import compensated
from export.int8 import tables
from export.writer import Writer
from tests.export_factory import HEADS, HIDDEN, INNER, LAYERS, batch_of, constants, embeddings, optimised, random_texts

SETTINGS = FourBits(block_size=16)
VOCABULARY = 2000
DENSE: dict[Format, Format] = {"int8_packed": "int8", "int4_packed": "int4"}
BITS = {"int8_packed": 8, "int4_packed": 4}
TEXTS = [[token % VOCABULARY for token in text] for text in random_texts([9, 30, 3, 17, 44, 12])]
PRODUCTS = "MatMulIntegerToFloat"
TABLE = "word embeddings in 4 bits"


@pytest.fixture(scope="module", autouse=True)
def _small_tables_count() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "BIG", 50_000)
        yield


def pruned(share: float, architecture: Architecture = "mpnet") -> SentenceEncoder:
    """Random weights, of which the smallest share of each matrix of the layers is zero."""
    encoder = build(EncoderSpec(LAYERS, HIDDEN, HEADS, INNER, VOCABULARY, architecture=architecture))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.1 * noise if "LayerNorm.weight" in name else 0.1 * noise)
            if share and "layer" in name and parameter.ndim == 2:
                parameter.mul_(parameter.abs() > parameter.abs().quantile(share))
    return encoder.eval()


@pytest.fixture(scope="module")
def graphs() -> dict[Format, onnx.ModelProto]:
    formats: tuple[Format, ...] = ("int8", "int8_packed", "int4", "int4_packed")
    return dict(precision.graphs(graph.to_onnx(pruned(0.9)), formats, TEXTS, SETTINGS))


def run(writer: Writer, name: str, shape: tuple[int, ...]) -> NDArray[np.int8]:
    writer.add("Identity", [name], "out")
    model = writer.model([], [helper.make_tensor_value_info("out", TensorProto.INT8, shape)])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: NDArray[np.int8] = session.run(None, {})[0]
    return found


def sparse(shape: tuple[int, ...], non_zeros: int, most: int) -> NDArray[np.int8]:
    """Integers of ±1 … most at so many places, the first and the last among them."""
    generator = np.random.default_rng(non_zeros)
    flat = np.zeros(int(np.prod(shape)), np.int8)
    between = generator.choice(np.arange(1, flat.size - 1), non_zeros - 2, replace=False)
    places = np.concatenate([[0, flat.size - 1], between])
    flat[places] = generator.integers(1, most + 1, non_zeros) * generator.choice([-1, 1], non_zeros)
    return flat.reshape(shape)


# Codec

HOLDS: dict[int, Hold] = {8: codec.octets, 4: codec.nibbles}


@pytest.mark.parametrize("bits", HOLDS)
@pytest.mark.parametrize("shape", [(80, 100), (77, 101), (3, 50, 71)])  # the second and third have odd sizes
def test_what_is_not_zero_comes_back_to_its_place(shape: tuple[int, ...], bits: int) -> None:
    integers = sparse(shape, 501, 127 if bits == 8 else 7)
    writer = Writer()
    name = codec.nonzero(HOLDS[bits], bits)(writer, "matrix", integers)
    assert any(node.op_type == "ScatterElements" for node in writer.nodes)
    assert np.array_equal(run(writer, name, shape), integers)


def test_gaps_by_hand() -> None:
    """At places 1, 8 and 40: 32 are more than four bits hold, so two values of 0 stand 15 and 30 behind the second."""
    integers = np.zeros((6, 10), np.int8)
    integers[0, [1, 8]], integers[4, 0] = (5, -6), 7
    wide, narrow = gaps(integers, 8), gaps(integers, 4)
    assert (wide.gaps.tolist(), wide.values.tolist()) == ([1, 7, 32], [5, -6, 7])
    assert (narrow.gaps.tolist(), narrow.values.tolist()) == ([1, 7, 15, 15, 2], [5, -6, 0, 0, 7])
    assert (packed_bytes(wide, 8), packed_bytes(narrow, 8), packed_bytes(narrow, 4)) == (3 + 3, 3 + 5, 3 + 3)


@pytest.mark.parametrize("places", [[], [0], [15], [16], [255, 270], [256], [0, 511], [999]])
@pytest.mark.parametrize("bits", [4, 8])
def test_gaps_of_the_widest_kind(places: list[int], bits: int) -> None:
    integers = np.zeros(1000, np.int8)
    integers[places] = 3
    found = gaps(integers, bits)
    back = np.zeros(1000, np.int8)
    back[np.cumsum(found.gaps, dtype=np.int64)] = found.values
    assert np.array_equal(back, integers)
    assert len(np.unique(np.cumsum(found.gaps, dtype=np.int64))) == len(found.gaps) >= len(places)


@pytest.mark.parametrize("bits", HOLDS)
def test_a_matrix_of_zeros_and_one_with_few_values(bits: int) -> None:
    for non_zeros in (0, 3):
        integers = sparse((100, 100), 3, 7) * np.int8(non_zeros > 0)
        writer = Writer()
        codec.nonzero(HOLDS[bits], bits)(writer, "matrix", integers)
        assert np.array_equal(run(writer, "matrix", (100, 100)), integers)


def test_bytes_at_ninety_per_cent() -> None:
    """0.1 x (8 + 8) bits a weight with gaps of eight bits; with four, a value of 0 for every gap above 15 besides."""
    integers = sparse((1000, 1000), 100_000, 7)
    assert packed_bytes(gaps(integers, 8), 8) == 200_000
    assert packed_bytes(gaps(integers, 8), 4) == 150_000
    bridges = 0.9**15 / (1 - 0.9**15)  # of each value: gaps are geometric
    assert packed_bytes(gaps(integers, 4), 8) == pytest.approx(100_000 * (1 + bridges) * 1.5, rel=0.01)
    assert packed_bytes(gaps(integers, 4), 4) == pytest.approx(100_000 * (1 + bridges), rel=0.01)


@pytest.mark.parametrize(("non_zeros", "kind"), [(4000, TensorProto.UINT4), (800, TensorProto.UINT8)])
def test_gaps_have_the_bits_that_make_the_smaller_file(non_zeros: int, kind: int) -> None:
    writer = Writer()
    codec.nonzero(codec.octets, 8)(writer, "matrix", sparse((200, 200), non_zeros, 7))
    assert writer.constants["matrix gaps"].data_type == kind


@pytest.mark.parametrize("bits", HOLDS)
def test_packed_only_where_that_is_smaller(bits: int) -> None:
    """With every second weight zero, gaps of four bits: 12 bits for 16 in INT8, 8 for 8 in INT4."""
    for share, packed in ((0.5, bits == 8), (0.7, False), (0.2, True)):
        integers = sparse((200, 200), int(200 * 200 * share), 7)
        writer, dense = Writer(), Writer()
        codec.nonzero(HOLDS[bits], bits)(writer, "matrix", integers)
        HOLDS[bits](dense, "matrix", integers)
        assert ("matrix gaps" in writer.constants) == packed
        assert whole(writer) < whole(dense) if packed else writer.constants == dense.constants


def whole(writer: Writer) -> int:
    """Bytes of everything in a graph."""
    return sum(node.ByteSize() for node in writer.nodes) + sum(one.ByteSize() for one in writer.constants.values())


def test_zeros_are_shared() -> None:
    writer = Writer()
    for name in ("first", "second"):
        codec.nonzero(codec.octets, 8)(writer, name, sparse((100, 100), 50, 7))
    assert Counter(node.op_type for node in writer.nodes) == {
        "ConstantOfShape": 1,
        **dict.fromkeys(("Cast", "CumSum", "ScatterElements", "Reshape"), 2),
    }


# Graphs


@pytest.mark.parametrize("packed", DENSE)
def test_outputs_are_those_of_dense_to_the_bit(packed: Format, graphs: dict[Format, onnx.ModelProto]) -> None:
    for batch in (batch_of(TEXTS), batch_of(TEXTS[:1], 64)):
        assert np.array_equal(embeddings(graphs[packed], batch), embeddings(graphs[DENSE[packed]], batch))


@pytest.mark.parametrize("packed", DENSE)
def test_the_file_holds_gaps_and_values_and_no_dense_matrix(
    packed: Format, graphs: dict[Format, onnx.ModelProto]
) -> None:
    held = constants(graphs[packed])
    found = [name for name in held if name.endswith(" gaps")]
    assert len(found) == sum(node.op_type == PRODUCTS for node in graphs[packed].graph.node) > 0
    values = [name for name in held if name.removesuffix(" in 4 bits").endswith(" values")]
    assert len(values) == len(found)
    assert all(value.size <= 2000 for name, value in held.items() if name.startswith("layer ") and name not in found)
    kind = TensorProto.INT8 if packed == "int8_packed" else TensorProto.INT4
    assert {tensor.data_type for tensor in graphs[packed].graph.initializer if tensor.name in values} == {kind}


@pytest.mark.parametrize("packed", DENSE)
def test_one_constant_a_matrix_is_left_in_a_session(
    packed: Format, graphs: dict[Format, onnx.ModelProto], tmp_path: Path
) -> None:
    left, dense = (optimised(graphs[name], tmp_path) for name in (packed, DENSE[packed]))
    assert Counter(node.op_type for node in left.graph.node) == Counter(node.op_type for node in dense.graph.node)
    kinds = {tensor.name: (tensor.data_type, len(tensor.dims)) for tensor in left.graph.initializer}
    products = [node for node in left.graph.node if node.op_type == PRODUCTS]
    assert products
    assert all(kinds[node.input[1]] == (TensorProto.INT8, 2) for node in products)
    assert not [name for name in kinds if name.endswith((" gaps", " values", " places"))]


# The table of words in four bits


@pytest.fixture(scope="module")
def with_small_table() -> dict[Format, onnx.ModelProto]:
    formats: tuple[Format, ...] = ("int8", "int8_avx2", "int8_packed", "int4")
    fp32 = graph.to_onnx(pruned(0.9))
    return dict(precision.graphs(fp32, formats, TEXTS, SETTINGS, embedding_bits=4))


def test_a_small_table_beside_matrices_in_bytes(
    graphs: dict[Format, onnx.ModelProto], with_small_table: dict[Format, onnx.ModelProto]
) -> None:
    """Table and positions are those of int4, the matrices those of int8."""
    small, eight, four = (constants(model) for model in (with_small_table["int8"], graphs["int8"], graphs["int4"]))
    assert small[TABLE].size == VOCABULARY * HIDDEN // 2  # two places in a byte
    assert np.array_equal(small[TABLE], four[TABLE])
    assert not any(value.size == VOCABULARY * HIDDEN for value in small.values())
    matrices = [name for name in eight if name.startswith("layer ") and name.endswith(" integers")]
    assert len(matrices) == 6 * LAYERS
    assert all(np.array_equal(small[name], eight[name]) for name in matrices)
    saved = graphs["int8"].ByteSize() - with_small_table["int8"].ByteSize()
    assert saved > 0.4 * VOCABULARY * HIDDEN  # multiples and scales come besides


def test_a_small_table_is_packed_to_the_bit(with_small_table: dict[Format, onnx.ModelProto]) -> None:
    batch = batch_of(TEXTS)
    dense, packed = (embeddings(with_small_table[name], batch) for name in ("int8", "int8_packed"))
    assert np.array_equal(dense, packed)
    assert with_small_table["int8_packed"].ByteSize() < with_small_table["int8"].ByteSize()


def test_a_small_table_says_nearly_the_same(
    graphs: dict[Format, onnx.ModelProto], with_small_table: dict[Format, onnx.ModelProto]
) -> None:
    batch = batch_of(TEXTS)
    for name in ("int8", "int8_avx2"):
        cosines = (embeddings(with_small_table[name], batch) * embeddings(graphs["int8"], batch)).sum(1)
        assert 0.97 < cosines.min() < 0.99999


def test_a_traced_graph_takes_a_small_table_too() -> None:
    """It is older than INT4, and is brought to the first opset that has it."""
    fp32 = graph.to_onnx(pruned(0.0, "convolution"))
    ((_, model),) = precision.graphs(fp32, ("int8",), TEXTS, SETTINGS, embedding_bits=4)
    assert next(entry.version for entry in model.opset_import if not entry.domain) >= 21
    assert any(name.endswith(" in 4 bits") and value.ndim == 2 for name, value in constants(model).items())
    assert np.isfinite(embeddings(model, batch_of(TEXTS))).all()


def test_a_model_without_zeros_is_the_dense_one() -> None:
    formats: tuple[Format, ...] = ("int8", "int8_packed", "int4", "int4_packed")
    found = dict(precision.graphs(graph.to_onnx(pruned(0.0)), formats, TEXTS, SETTINGS))
    for packed, dense in DENSE.items():
        assert found[packed].SerializeToString() == found[dense].SerializeToString()
        assert stored.measure(found[packed]).packed_matrices == 0


def test_zeros_survive_compensated_rounding() -> None:
    """Two inputs that are always equal: what the first cannot hold goes to the second, unless that was pruned."""
    weight = torch.tensor([[7.0, 0.4, 0.0]])
    covariance = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.999999], [0.0, 0.999999, 1.0]], dtype=torch.float64)
    assert compensated(weight, covariance, Grid(4)).integers[0, 2] == 0
    mask = torch.rand(24, 64, generator=torch.Generator().manual_seed(1)) < 0.1
    generator = torch.Generator().manual_seed(4)
    mixing = torch.randn(64, 8, generator=generator)
    held = (torch.randn(24, 64, generator=generator) * mask).float()
    entering = (mixing @ mixing.T + 0.05 * torch.eye(64)).double()
    found = compensated(held, entering, Grid(4))
    assert not found.integers[~mask].any()
    away, nearest = (((one.integers * one.scales) - held).double() for one in (found, quantise(held, Grid(4))))
    assert ((away @ entering) * away).sum() < ((nearest @ entering) * nearest).sum()


# What the manifest says


@pytest.mark.parametrize("packed", DENSE)
def test_sizes_and_non_zeros_of_a_graph(packed: Format, graphs: dict[Format, onnx.ModelProto]) -> None:
    found, dense = stored.measure(graphs[packed]), stored.measure(graphs[DENSE[packed]])
    content = graphs[packed].SerializeToString()
    assert found.file == len(content) < dense.file
    assert found.zipped == len(zlib.compress(content, 6))
    assert found.weights == dense.weights == LAYERS * (4 * HIDDEN * HIDDEN + 2 * HIDDEN * INNER)
    assert found.non_zeros == dense.non_zeros
    assert found.non_zeros / found.weights == pytest.approx(0.1, abs=0.03)  # small ones round to zero besides
    assert (found.packed_matrices, dense.packed_matrices) == (found.matrices, 0)
    held = constants(graphs[packed])
    taken = 0
    for name in (name for name in held if name.endswith(" gaps")):
        taken += tensor_bytes(graphs[packed], name) + tensor_bytes(graphs[packed], name.removesuffix("gaps") + "values")
    assert found.dense - found.file == found.weights * BITS[packed] // 8 - taken > 0
    assert dense.dense == dense.file
    assert 0 < found.dense - dense.file < OVERHEAD * found.matrices  # names and nodes


def tensor_bytes(model: onnx.ModelProto, name: str) -> int:
    (size,) = (len(one.raw_data) for one in model.graph.initializer if one.name.removesuffix(" in 4 bits") == name)
    return size


def test_the_manifest_of_a_folder_has_them(
    tiny_checkpoint: Path, data: dict[str, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tiny encoder has no zeros, and matrices too small to be worth it; its table is written in four bits."""
    experiment = Experiment(
        name="packed",
        checkpoint=tiny_checkpoint,
        output=tmp_path,
        data=Data(**data),  # type: ignore[arg-type]
        export=Export(formats=("int8_packed",), embedding_bits=4, parity=Parity(min_cosine=0.5, max_flip_rate=1.0)),
    )
    assert export_run.work(experiment) == 0
    folder = tmp_path / "tiny-int8-packed"
    found = yaml.safe_load((folder / "manifest.yaml").read_text())["stored"]
    assert found["file"] == (folder / "embeddings_quantized_int8_packed.onnx").stat().st_size == found["dense"]
    assert found["weights"] == 2 * (4 * 32 * 32 + 2 * 32 * 64)
    assert (found["matrices"], found["packed_matrices"]) == (12, 0)
    held = constants(onnx.load(folder / "embeddings_quantized_int8_packed.onnx"))
    assert any(name.startswith("word embeddings") and name.endswith(" in 4 bits") for name in held)
    assert "0 of 12 matrices packed" in capsys.readouterr().out


def test_the_line_for_the_terminal() -> None:
    line = stored.sentence(stored.Stored(4_000_000, 10_000_000, 3_500_000, 12, 11, 8_000_000, 800_000))
    assert line == (
        "graph: 4.00 MB, 10.00 dense, 3.50 zipped; 800,000 of 8,000,000 weights (10.0%) are not zero,"
        " 11 of 12 matrices packed"
    )
    assert stored.sentence(stored.Stored(4_000_000, 4_000_000, 3_500_000, 0, 0, 0, 0)) == (
        "graph: 4.00 MB, 4.00 dense, 3.50 zipped"
    )
