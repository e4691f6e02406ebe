"""export.errors_of_products and errors_of_layers: equal to what the graphs do, nothing where nothing is rounded."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from core.errors import UserError
from core.model import SentenceEncoder
from core.schema.serving import FourBits
from export import errors_of_layers, errors_of_products, int4, int8
from export.errors_of_products import ProductError, decibels
from export.graph import to_onnx
from export.int8.observe import Observed
from export.int8.watch import watch
from export.writer import Writer
from tests.export_factory import random_texts

TEXTS = random_texts([9, 4, 17, 30, 12, 8, 21, 3], seed=1)


@pytest.fixture(scope="module")
def exact(tiny_encoder: SentenceEncoder) -> onnx.ModelProto:
    """Its table of words is no big one and stays FP32, so that the first products are fed exactly."""
    return int8.centre(to_onnx(tiny_encoder), TEXTS)


@pytest.fixture(scope="module")
def observed(exact: onnx.ModelProto) -> Observed:
    return int8.observe(exact, TEXTS)


@pytest.fixture(scope="module")
def in_four_bits(exact: onnx.ModelProto, observed: Observed) -> onnx.ModelProto:
    return int4.quantise(exact, observed, TEXTS, FourBits(rounding="nearest", block_size=16))


def products(exact: onnx.ModelProto, rounded: onnx.ModelProto, observed: Observed) -> dict[str, ProductError]:
    return {one.name: one for one in errors_of_products.measure(exact, rounded, observed, TEXTS)}


def measured(exact: onnx.ModelProto, rounded: onnx.ModelProto, name: str) -> float:
    """Noise over signal of a tensor of both graphs, channel means out of the signal."""
    true, found = (
        np.concatenate([values[name][0] for values in watch(model, [name], TEXTS)]) for model in (exact, rounded)
    )
    return float(np.square(found - true).sum() / np.square(true - true.mean(0)).sum())


@pytest.mark.parametrize("part", ["queries", "keys", "values"])
@pytest.mark.parametrize("bits", [4, 8])
def test_shares_add_up_to_the_error_of_products_that_are_fed_exactly(
    exact: onnx.ModelProto, observed: Observed, in_four_bits: onnx.ModelProto, bits: int, part: str
) -> None:
    rounded = in_four_bits if bits == 4 else int8.quantise(exact, observed)
    name = f"layer 0 attention {part}"
    found = products(exact, rounded, observed)[name]
    assert found.weights > 0
    assert found.activations > 0
    assert found.weights + found.activations == pytest.approx(measured(exact, rounded, name), rel=0.15)


def test_every_product_is_there_and_four_bits_err_by_the_weights_alone(
    exact: onnx.ModelProto, observed: Observed, in_four_bits: onnx.ModelProto
) -> None:
    eight, four = (products(exact, model, observed) for model in (int8.quantise(exact, observed), in_four_bits))
    parts = ("attention queries", "attention keys", "attention values", "attention out", "inner", "outer")
    assert list(eight) == list(four) == [f"layer {layer} {part}" for layer in range(2) for part in parts]
    for name, one in eight.items():
        assert four[name].activations == pytest.approx(one.activations, rel=1e-5)
        assert four[name].weights > 20 * one.weights, name  # steps of 1/7 in place of 1/127, in blocks
        assert 1e-6 < one.weights < 1e-2, name


def test_weights_on_their_grid_lose_nothing(exact: onnx.ModelProto, observed: Observed) -> None:
    eight = int8.quantise(exact, observed)
    writer = Writer(exact.graph.initializer)
    writer.nodes = list(exact.graph.node)
    name = "layer 1 inner"
    node = next(node for node in eight.graph.node if node.output[0] == name)
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in eight.graph.initializer}
    writer.change(f"{name} weight", held[node.input[1]] * held[node.input[3]] / np.float32(1.702))
    rounded_before = writer.model(exact.graph.input, exact.graph.output)
    found = products(rounded_before, int8.quantise(rounded_before, observed), observed)
    assert found[name].weights < 1e-9
    assert found["layer 1 attention out"].weights > 1e-6


def test_nothing_rounded_is_no_error_and_it_grows_with_fewer_bits(
    exact: onnx.ModelProto, observed: Observed, in_four_bits: onnx.ModelProto
) -> None:
    same, eight, four = (
        errors_of_layers.measure(exact, model, TEXTS) for model in (exact, int8.quantise(exact, observed), in_four_bits)
    )
    names = [f"layer {layer} {part} states" for layer in range(2) for part in ("attention", "output")]
    assert [one.name for one in same] == ["embeddings states", *names, "sentence_embedding"]
    for none, little, much in zip(same, eight, four, strict=True):
        np.testing.assert_array_equal(none.relative, np.zeros(len(TEXTS)))
        np.testing.assert_allclose(none.cosine, 1, atol=1e-6)
        if none.name != "embeddings states":
            assert 0 < np.median(little.relative) < np.median(much.relative)
            assert np.median(much.cosine) < np.median(little.cosine) < 1


def test_the_error_of_a_layer_by_hand(exact: onnx.ModelProto, observed: Observed) -> None:
    eight = int8.quantise(exact, observed)
    found = {one.name: one for one in errors_of_layers.measure(exact, eight, TEXTS)}["layer 1 output states"]
    true, other = (
        [values["layer 1 output states"][0] for values in watch(model, ["layer 1 output states"], TEXTS)]
        for model in (exact, eight)
    )
    mean = np.concatenate(true).mean(0)
    signal, noise = true[3] - mean, other[3] - true[3]
    assert found.relative[3] == pytest.approx(np.linalg.norm(noise) / np.linalg.norm(signal), rel=1e-4)
    both = np.linalg.norm(signal) * np.linalg.norm(signal + noise)
    assert found.cosine[3] == pytest.approx(float((signal * (signal + noise)).sum()) / both, rel=1e-5)


def test_one_text_differs_from_none(exact: onnx.ModelProto) -> None:
    with pytest.raises(UserError, match="give two or more, not 1"):
        errors_of_layers.measure(exact, exact, TEXTS[:1])


def test_decibels() -> None:
    assert decibels(0.01) == pytest.approx(20)
    assert decibels(1.0) == 0
    assert decibels(0.0) > 300
