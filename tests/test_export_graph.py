"""export.graph: the FP32 graph equals PyTorch at every size, is one file, and onnxruntime fuses nothing slow in it."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from onnx.external_data_helper import uses_external_data

from core.model import SentenceEncoder
from export import ends, graph
from export.relative_bias import HIDDEN as HIDDEN_SCORE
from export.relative_bias import add_bias
from export.traced import keep_apart
from export.writer import Writer
from tests.export_factory import (
    HEADS,
    HIDDEN,
    LAYERS,
    batch_of,
    by_torch,
    constants,
    embeddings,
    opened,
    optimised,
    random_encoder,
    random_texts,
)


@pytest.fixture(scope="module", params=[None, 40], ids=["plain", "projected"])
def encoder(request: pytest.FixtureRequest) -> SentenceEncoder:
    return random_encoder(3, request.param)


@pytest.fixture(scope="module")
def fp32(encoder: SentenceEncoder) -> onnx.ModelProto:
    return graph.to_onnx(encoder)


def fused(model: onnx.ModelProto, folder: Path) -> Counter[str]:
    """The operators that onnxruntime runs after its default optimisations."""
    return Counter(node.op_type for node in optimised(model, folder).graph.node)


def test_inputs_and_outputs_by_name_and_versions(fp32: onnx.ModelProto, encoder: SentenceEncoder) -> None:
    session = opened(fp32)
    assert [(value.name, value.shape, value.type) for value in session.get_inputs()] == [
        ("input_ids", ["batch", "tokens"], "tensor(int64)"),
        ("attention_mask", ["batch", "tokens"], "tensor(int64)"),
    ]
    assert [(value.name, value.shape) for value in session.get_outputs()] == [
        ("sentence_embedding", ["batch", encoder.spec.embedding_size]),
        ("last_hidden_state", ["batch", "tokens", HIDDEN]),
    ]
    assert [(entry.domain, entry.version) for entry in fp32.opset_import] == [("", 23)]
    assert fp32.ir_version == 10
    assert not any(uses_external_data(tensor) for tensor in fp32.graph.initializer)


@pytest.mark.parametrize("lengths", [(1,), (2,), (7, 3, 5), (4, 4), (512, 9)])
def test_the_graph_equals_pytorch(fp32: onnx.ModelProto, encoder: SentenceEncoder, lengths: tuple[int, ...]) -> None:
    batch = batch_of(random_texts(lengths))
    embedding, last = opened(fp32).run(None, batch)
    wanted, states = by_torch(encoder, batch)
    np.testing.assert_allclose(embedding, wanted, atol=1e-5)
    real = batch["attention_mask"].astype(bool)
    np.testing.assert_allclose(last[real], states[real], atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1.0, atol=1e-6)


def test_padding_to_512_changes_nothing(fp32: onnx.ModelProto) -> None:
    texts, session = random_texts((7, 3, 5)), opened(fp32)
    embedding, last = session.run(None, batch_of(texts))
    longer, filled = session.run(None, batch_of(texts, 512))
    assert np.array_equal(longer, embedding)
    assert filled.shape == (3, 512, HIDDEN)
    assert np.array_equal(filled[:, :7], last)
    assert not filled[:, 7:].any()


def test_a_mask_without_a_token_gives_finite_numbers(fp32: onnx.ModelProto) -> None:
    empty = {"input_ids": np.ones((1, 4), np.int64), "attention_mask": np.zeros((1, 4), np.int64)}
    embedding, last = opened(fp32).run(None, empty)
    assert np.isfinite(embedding).all()
    assert np.isfinite(last).all()
    assert last.shape == (1, 4, HIDDEN)


def test_half_precision_weights_are_exported_as_fp32(encoder: SentenceEncoder) -> None:
    half = random_encoder(3, encoder.spec.projection).half()
    model = graph.to_onnx(half)
    assert {tensor.data_type for tensor in model.graph.initializer} == {TensorProto.FLOAT, TensorProto.INT64}
    batch = batch_of(random_texts((7, 3)))
    np.testing.assert_allclose(embeddings(model, batch), by_torch(half.float(), batch)[0], atol=1e-5)


def test_products_with_weights_and_one_that_pools(fp32: onnx.ModelProto, encoder: SentenceEncoder) -> None:
    known = constants(fp32)
    products = [node for node in fp32.graph.node if node.op_type == "MatMul"]
    assert [node.output[0] for node in products if node.input[1] not in known] == ["pooled"]
    # Per layer queries, keys, values, the attention's output and the two feed-forward matrices.
    assert len(products) == 6 * LAYERS + (encoder.projection is not None) + 1


def test_nothing_computes_shapes_beside_what_padding_and_bias_need(fp32: onnx.ModelProto) -> None:
    kinds = Counter(node.op_type for node in fp32.graph.node)
    assert kinds["Attention"] == LAYERS
    assert (kinds["Shape"], kinds["Reshape"], kinds["Transpose"]) == (1, 1, 0)


def test_onnxruntime_does_not_fuse_residuals_with_layer_normalisation(fp32: onnx.ModelProto, tmp_path: Path) -> None:
    """Its SkipLayerNormalization takes several times as long as the two operators by themselves."""
    kinds = fused(fp32, tmp_path)
    assert kinds["SkipLayerNormalization"] == 0
    assert kinds["LayerNormalization"] == kinds["Sum"] == 2 * LAYERS + 1


def test_the_relative_bias_by_hand() -> None:
    """Of head h the bias at distance d is 100 h + d, so entry (i, j) is 100 h + j - i; of padding, hardly more."""
    reach, heads = 4, 2
    writer = Writer()
    real = ends.Cut("longest", "ids", "real")
    table = np.arange(-reach, reach + 1, dtype=np.float32) + 100 * np.arange(heads, dtype=np.float32)[:, None]
    add_bias(writer, real, table)
    given = [
        helper.make_tensor_value_info("longest", TensorProto.INT64, [1]),
        helper.make_tensor_value_info("real", TensorProto.FLOAT, ["batch", 1, "tokens"]),
    ]
    model = writer.model(given, [helper.make_tensor_value_info("bias", TensorProto.FLOAT, [None] * 4)])
    for tokens in range(1, reach + 2):
        mask = np.ones((2, tokens), np.float32)
        mask[1, tokens // 2 + 1 :] = 0
        (bias,) = opened(model).run(None, {"longest": np.array([tokens]), "real": mask[:, None]})
        place = np.arange(tokens)
        wanted = (place - place[:, None]) + 100.0 * np.arange(heads)[:, None, None]
        wanted = wanted + (1 - mask)[:, None, None, :] * HIDDEN_SCORE
        np.testing.assert_array_equal(bias, wanted.astype(np.float32))


def test_a_head_may_be_of_any_size() -> None:
    """Heads times size need not be the width of the states, as in a pruned layer."""
    encoder = random_encoder(5)
    attention = encoder.transformer.encoder.layer[1].attention.attn  # type: ignore[union-attr]
    attention.head_size = 8  # type: ignore[union-attr]
    for name in ("q", "k", "v"):
        layer = torch.nn.Linear(HIDDEN, HEADS * 8)
        torch.nn.init.normal_(layer.weight)
        setattr(attention, name, layer)
    attention.o = torch.nn.Linear(HEADS * 8, HIDDEN)  # type: ignore[union-attr]
    batch = batch_of(random_texts((7, 3)))
    np.testing.assert_allclose(embeddings(graph.to_onnx(encoder), batch), by_torch(encoder, batch)[0], atol=1e-5)


def test_two_tensors_of_one_name_are_refused() -> None:
    writer = Writer()
    writer.number(1)
    writer.add("Abs", ["x"], "y")
    with pytest.raises(ValueError, match="two tensors of the name 'y'"):
        writer.constant("y", np.zeros(1))


def test_a_sum_is_not_fused_where_an_add_is(tmp_path: Path) -> None:
    """With shapes that onnxruntime can follow it fuses; which it follows differs from graph to graph."""
    writer = Writer()
    summed = writer.add("Add", ["x", "y"], "summed")
    ones = writer.constant("ones", np.ones(HIDDEN, np.float32))
    writer.add("LayerNormalization", [summed, ones, ones], "normed")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8, HIDDEN]) for name in ("x", "y", "normed")]
    model = writer.model(values[:2], values[2:])
    assert fused(model, tmp_path) == {"SkipLayerNormalization": 1}
    keep_apart(model)
    assert fused(model, tmp_path) == {"Sum": 1, "LayerNormalization": 1}


def test_traced_residuals_are_sums_too() -> None:
    kinds = Counter(node.op_type for node in graph.to_onnx(random_encoder(3, architecture="hybrid")).graph.node)
    assert kinds["Sum"] == 2 * LAYERS + 1
