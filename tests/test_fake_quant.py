"""core.grid, integers, fake_quant and activation_ranges: training rounds to what the file holds, bit for bit."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.quant_utils import compute_scale_zp
from pydantic import ValidationError
from torch import Tensor, nn

from core import activation_ranges, fake_quant, parametrised, sparsity
from core.activation_ranges import ActivationRange, Scale, unsigned
from core.errors import UserError
from core.fake_quant import FakeQuantised
from core.grid import Grid
from core.integers import dequantise, quantise
from core.model import SentenceEncoder
from core.schema.compression import FakeQuantisation, Sparsity

INT4 = Grid(bits=4)
SEARCHED = Grid(bits=4, search=True)
GRIDS = {
    "int8": Grid(),
    "reduced": Grid(reduce_range=True),
    "int8 in blocks": Grid(block_size=16),
    "int4": INT4,
    "searched": SEARCHED,
    "blocks": Grid(bits=4, block_size=16, search=True),
    "a part of a block": Grid(bits=4, block_size=20, search=True),
    "multiples": Grid(bits=4, block_size=16, whole_multiples=True),
    "multiples, reduced": Grid(bits=4, block_size=16, whole_multiples=True, reduce_range=True),
}


def random(*shape: int, seed: int = 3) -> Tensor:
    """Rows of unlike size, one of them zero."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(*shape, generator=generator) * torch.linspace(0.01, 3, shape[0])[:, None]
    values[1] = 0
    return values


def test_a_row_by_hand() -> None:
    found = quantise(torch.tensor([[7.0, -14.0, 1.0, 3.0, 5.0, 0.0]]), INT4)  # a step of 2; halves go to even
    assert found.scales.tolist() == [[2.0]]
    assert found.integers.tolist() == [[4, -7, 0, 2, 2, 0]]
    assert dequantise(found, INT4).tolist() == [[8.0, -14.0, 0.0, 4.0, 4.0, 0.0]]


def test_blocks_and_multiples_by_hand() -> None:
    weight = torch.tensor([[105.0, 15.0, 7.0, 1.0, 0.0]])
    found = quantise(weight, Grid(bits=4, block_size=2))
    assert found.scales.tolist() == [[15.0, 1.0, 1.0]]  # an empty block has any scale
    assert found.integers.tolist() == [[7, 1, 7, 1, 0]]
    found = quantise(weight, Grid(bits=4, block_size=2, whole_multiples=True))
    assert found.multiples is not None
    assert (found.scales.tolist(), found.multiples.tolist()) == ([[1.0]], [[15, 1, 1]])
    assert found.integers.tolist() == [[7, 1, 7, 1, 0]]


def test_a_search_finds_a_smaller_error_by_clipping() -> None:
    weight = torch.tensor([[1.0, -1.0] * 30 + [3.0, 11.0]])
    plain, searched = (dequantise(quantise(weight, grid), grid) for grid in (INT4, SEARCHED))
    assert searched[0, -1] < 11  # clipped, and the many are nearer
    assert (searched - weight).square().sum() < 0.9 * (plain - weight).square().sum()


@pytest.mark.parametrize("name", GRIDS)
def test_what_is_on_the_grid_is_found_again(name: str) -> None:
    grid = GRIDS[name]
    first = quantise(random(24, 50), grid)
    values = dequantise(first, grid)
    again = quantise(values, grid)
    assert torch.equal(first.integers, again.integers)
    torch.testing.assert_close(first.scales, again.scales, rtol=3e-7, atol=0)
    assert first.integers.abs().max() == grid.largest
    assert torch.equal(values[1], torch.zeros(50))
    if first.multiples is not None:
        assert again.multiples is not None
        assert torch.equal(first.multiples, again.multiples)
        widened = first.multiples.repeat_interleave(16, 1)[:, :50].int()
        assert (first.integers.int() * widened).abs().max() <= grid.product
        assert first.multiples.max() == (9 if grid.reduce_range else 15)


def test_int8_is_what_onnxruntime_writes(tmp_path: Path) -> None:
    """Of its own dynamic quantisation, with and without a bit less; ONNX has (inputs, outputs)."""
    weight = random(24, 50)
    for reduced in (False, True):
        graph = helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 50])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 24])],
            [numpy_helper.from_array(np.ascontiguousarray(weight.T.numpy()), "w")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, tmp_path / "a.onnx")
        quantize_dynamic(
            tmp_path / "a.onnx",
            tmp_path / "b.onnx",
            per_channel=True,
            reduce_range=reduced,
            weight_type=QuantType.QInt8,
        )
        written = {one.name: numpy_helper.to_array(one) for one in onnx.load(tmp_path / "b.onnx").graph.initializer}
        found = quantise(weight, Grid(reduce_range=reduced))
        assert np.array_equal(written["w_quantized"].T, found.integers.numpy())
        assert np.array_equal(written["w_scale"], found.scales[:, 0].numpy())
        assert not written["w_zero_point"].any()


def test_a_weight_that_is_no_number_is_refused() -> None:
    with pytest.raises(UserError, match="NaN or infinite"):
        quantise(torch.tensor([[1.0, float("nan")]]), Grid())


def test_straight_through_by_hand() -> None:
    weight = torch.tensor([[1.0, -7.0, 0.4, 3.0]], requires_grad=True)
    part = FakeQuantised(weight, INT4, "smallest")
    upstream = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    part(weight).backward(upstream)
    assert part(weight).tolist() == [[1.0, -7.0, 0.0, 3.0]]
    assert torch.equal(weight.grad, upstream)  # type: ignore[arg-type]


def test_learned_steps_by_hand() -> None:
    """LSQ, equations 3 and 5: 9 is clipped at 7 · 1 and takes no gradient; the step takes 7 from it."""
    weight = torch.tensor([[9.0, -2.25, 0.5, 3.0]], requires_grad=True)
    part = FakeQuantised(weight, INT4, "learned")
    assert part.scales is not None
    part.scales.data.fill_(1.0)
    part(weight).backward(torch.tensor([[1.0, 10.0, 100.0, 1000.0]]))
    assert part(weight).tolist() == [[7.0, -2.0, 0.0, 3.0]]
    assert weight.grad is not None
    assert part.scales.grad is not None
    assert weight.grad.tolist() == [[0.0, 10.0, 100.0, 1000.0]]
    slope = 7.0 + 10 * (-2 + 2.25) + 100 * (0 - 0.5) + 0.0
    assert part.scales.grad.item() == pytest.approx(slope / (4 * 7) ** 0.5)


def test_a_searched_step_keeps_its_ratio_to_the_largest_weight() -> None:
    weight = torch.tensor([[1.0, -1.0] * 30 + [3.0, 11.0]])
    part = FakeQuantised(weight, INT4, "searched")
    assert torch.equal(part(weight), dequantise(quantise(weight, SEARCHED), INT4))
    assert torch.equal(part(2 * weight), 2 * part(weight))
    moved = weight.clone().requires_grad_()
    part(moved).sum().backward()
    assert moved.grad is not None
    assert moved.grad.tolist() == [[1.0] * 61 + [0.0]]


@pytest.fixture
def encoder(tiny_encoder: SentenceEncoder) -> SentenceEncoder:
    return copy.deepcopy(tiny_encoder)


IDS = torch.tensor([[0, 2000, 2001, 2002, 2], [0, 2003, 2000, 2, 1]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])


def embed(encoder: nn.Module) -> Tensor:
    embedding: Tensor = encoder(IDS, MASK).sentence_embedding
    return embedding


SETTINGS: dict[str, dict[str, Any]] = {
    "int8": {},
    "int4": {"bits": 4, "embedding_bits": 4},
    "searched": {"bits": 4, "embedding_bits": 4, "step": "searched", "block_size": 8},
    "learned": {"bits": 4, "embedding_bits": 4, "step": "learned"},
    "multiples": {"bits": 4, "block_size": 8, "whole_multiples": True},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_what_is_trained_on_is_what_is_exported(encoder: SentenceEncoder, name: str) -> None:
    settings = FakeQuantisation(**SETTINGS[name])
    names, before = set(encoder.state_dict()), embed(encoder)
    fake_quant.apply(encoder, settings)
    assert fake_quant.is_applied(encoder)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=0.02)
    for _ in range(3):
        embed(encoder)[:, 0].sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    trained = embed(encoder)
    assert not torch.allclose(trained, before, atol=1e-3)
    twin = copy.deepcopy(encoder)
    assert torch.equal(embed(twin), trained)
    for one in (encoder, twin):
        fake_quant.remove(one)
        assert not fake_quant.is_applied(one)
        assert set(one.state_dict()) == names
        assert torch.equal(embed(one), trained)
    search = settings.step != "smallest"
    grid = Grid(settings.bits, settings.block_size, settings.whole_multiples, search=search)
    tables = Grid(settings.embedding_bits or 8, settings.block_size, search=search)
    matrices = {layer.weight: grid for layer in parametrised.linears(encoder).values()}
    for weight, its in (matrices | {encoder.transformer.embeddings.word_embeddings.weight: tables}).items():
        held = dequantise(quantise(weight, its), its)
        torch.testing.assert_close(held, weight.detach(), rtol=3e-7, atol=0)


def test_looked_up_rows_are_those_of_the_rounded_table(encoder: SentenceEncoder) -> None:
    table = encoder.transformer.embeddings.word_embeddings
    for name in ("int8", "searched", "learned"):
        fake_quant.apply(encoder, FakeQuantisation(**SETTINGS[name]))
        rows = table(IDS)
        part = getattr(table, fake_quant.LOOKUP)
        assert torch.equal(rows, part(table.weight)[IDS])
        assert not torch.equal(rows, table.weight[IDS])
        fake_quant.remove(encoder)


def test_zeros_stay_zero_and_are_no_part_of_a_scale(encoder: SentenceEncoder) -> None:
    layer = encoder.transformer.encoder.layer[0].attention.attn.q  # type: ignore[union-attr]
    assert isinstance(layer, nn.Linear)
    layer.weight.data[0, 0] = 100.0
    sparsity.apply(encoder, Sparsity(final_sparsity=0.5))
    parametrised.find(encoder, sparsity.Masked)["transformer.encoder.layer.0.attention.attn.q"].mask[0, 0] = False
    fake_quant.apply(encoder, FakeQuantisation())
    assert layer.weight[0, 0] == 0
    assert layer.weight[0].abs().max() < 2
    rounded = layer.weight.detach().clone()
    fake_quant.remove(encoder)  # the mask stays
    assert parametrised.find(encoder, sparsity.Masked)
    assert torch.equal(layer.weight, rounded)
    sparsity.remove(encoder)
    assert torch.equal(layer.weight, rounded)


def test_masks_can_leave_before_the_rounding(encoder: SentenceEncoder) -> None:
    layers = encoder.transformer.encoder
    sparsity.apply(layers, Sparsity(final_sparsity=0.5))
    sparsity.update(layers, Sparsity(final_sparsity=0.5), 0.5)
    fake_quant.apply(encoder, FakeQuantisation(**SETTINGS["searched"]))
    before = embed(encoder)
    sparsity.remove(encoder)
    assert fake_quant.is_applied(encoder)
    assert torch.equal(embed(encoder), before)


def test_wrong_order_and_wrong_type_are_refused(encoder: SentenceEncoder) -> None:
    with pytest.raises(ValueError, match=r"needs float32 weights, not torch\.float16"):
        fake_quant.apply(copy.deepcopy(encoder).half(), FakeQuantisation())
    fake_quant.apply(encoder, FakeQuantisation())
    with pytest.raises(ValueError, match="fake-quantised already"):
        fake_quant.apply(encoder, FakeQuantisation())
    with pytest.raises(ValueError, match="masks come first"):
        sparsity.apply(encoder, Sparsity(final_sparsity=0.5))


@pytest.mark.parametrize("ends", [(-0.17, 6.3), (0.5, 3.0), (-2.0, -1.0), (0.0, 0.0), (-1e-3, 40.0)])
def test_the_scale_of_an_activation_is_onnxruntime_s(ends: tuple[float, float]) -> None:
    low, high = (np.array(end, np.float32) for end in ends)
    zero, scale = compute_scale_zp(low, high, np.array(0, np.uint8), np.array(255, np.uint8))
    assert unsigned(float(low), float(high)) == Scale(float(scale), int(zero))


def test_activations_are_rounded_as_onnxruntime_rounds_them() -> None:
    states = torch.randn(40, 60, generator=torch.Generator().manual_seed(1)) * 2
    part = ActivationRange(0.9)
    part.observe(states.clamp(-2.0, 3.0))
    part.frozen.fill_(True)
    fixed = part.scale()
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [40, 60])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [40, 60])],
        [
            numpy_helper.from_array(np.array(fixed.scale, np.float32), "s"),
            numpy_helper.from_array(np.array(fixed.zero_point, np.uint8), "z"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    states.requires_grad_()
    rounded = part(states)
    assert np.array_equal(session.run(None, {"x": states.detach().numpy()})[0], rounded.detach().numpy())
    rounded.sum().backward()
    assert states.grad is not None
    inside = (states > -2.0) & (states < 3.0)
    edge = (states + 2.0).abs().minimum((states - 3.0).abs()) < fixed.scale
    assert torch.equal(states.grad[~edge], inside[~edge].float())
    assert not states.grad.all()


def test_a_range_is_a_running_mean_by_hand() -> None:
    part = ActivationRange(momentum=0.5)
    ends = []
    for low, high in ((-1.0, 3.0), (-3.0, 5.0), (-2.0, 8.0)):
        part(torch.tensor([low, 0.0, high]))
        ends.append((part.low.item(), part.high.item()))
    assert ends == [(-1.0, 3.0), (-2.0, 4.0), (-2.0, 6.0)]  # shares 1, 1/2, 1/2
    part.eval()
    part(torch.tensor([100.0]))
    assert part.high.item() == 6.0  # validation is not watched


def test_ranges_are_watched_then_fixed_and_survive_a_save(encoder: SentenceEncoder) -> None:
    settings = FakeQuantisation(embedding_bits=None, activations=True)
    fake_quant.apply(encoder, settings)
    with pytest.raises(UserError, match=r"nothing has entered transformer\.encoder\.layer\.0\.attention\.attn\.q yet"):
        activation_ranges.freeze(encoder)
    torch.manual_seed(7)  # of dropout: the ranges must not depend on which tests ran before
    encoder.train()
    embed(encoder)
    encoder.eval()
    watched = embed(encoder)
    scales = activation_ranges.scales(encoder)
    assert len(scales) == 2 * 6
    attention = "transformer.encoder.layer.0.attention.attn."
    assert scales[attention + "q"] == scales[attention + "k"] == scales[attention + "v"] != scales[attention + "o"]
    activation_ranges.freeze(encoder)
    rounded = embed(encoder)
    assert not torch.equal(watched, rounded)
    torch.testing.assert_close(watched, rounded, rtol=0, atol=0.03)
    other = copy.deepcopy(encoder)
    for part in activation_ranges.watched(other).values():
        part.low.zero_(), part.high.zero_(), part.frozen.zero_()
    other.load_state_dict(encoder.state_dict())
    assert torch.equal(embed(other), rounded)
    fake_quant.remove(other)
    assert not activation_ranges.watched(other)
    assert torch.equal(embed(encoder), rounded)  # the copy's hooks were its own


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"step": "learned"}, "has no effect with 8 bits"),
        ({"whole_multiples": True, "bits": 4}, "has no effect without `block_size`"),
        ({"whole_multiples": True, "bits": 4, "block_size": 16, "step": "learned"}, "ties"),
    ],
)
def test_settings_without_effect_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        FakeQuantisation(**settings)
