"""eval.ledger: every byte of a checkpoint and of its export has a place."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from core.model import SentenceEncoder
from eval import ledger
from export import graph
from tests.export_factory import HEADS, HIDDEN, INNER, LAYERS, random_encoder


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return random_encoder(1)


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_checkpoint_by_hand(tiny_checkpoint: Path) -> None:
    found = ledger.weigh(tiny_checkpoint)
    assert tuple(found) == ledger.GROUPS
    assert sum(found.values()) == size(tiny_checkpoint)
    layers, hidden, inner = 2, 32, 64
    assert found["word embeddings"] == 30527 * hidden * 4
    assert found["positions"] == 514 * hidden * 4
    assert found["attention"] == (layers * 4 * (hidden * hidden + hidden) + 32 * 4) * 4
    assert found["feed-forward"] == layers * (2 * hidden * inner + inner + hidden) * 4
    assert found["normalisation"] == (1 + 2 * layers) * 2 * hidden * 4
    assert found["manifest"] == (tiny_checkpoint / "manifest.yaml").stat().st_size
    heads = [*tiny_checkpoint.glob("classifier_*"), tiny_checkpoint / "heads.safetensors"]
    assert found["heads"] == sum(path.stat().st_size for path in heads)


@pytest.mark.parametrize("architecture", ["mpnet", "convolution"])
def test_a_graph_is_the_sum_of_its_tensors(architecture: str, tmp_path: Path) -> None:
    encoder = random_encoder(1, architecture=architecture)  # type: ignore[arg-type]
    (tmp_path / "embeddings.onnx").write_bytes(graph.to_onnx(encoder).SerializeToString())
    found = ledger.weigh(tmp_path)
    assert sum(found.values()) == size(tmp_path)
    least = {
        "word embeddings": 30527 * HIDDEN * 4,
        "feed-forward": LAYERS * 2 * HIDDEN * INNER * 4,
        "positions": 512 * HIDDEN * 4,
    }
    if architecture == "mpnet":
        least["attention"] = (LAYERS * 4 * (HIDDEN * HIDDEN + HIDDEN) + HEADS * 1023) * 4
        least["normalisation"] = (1 + 2 * LAYERS) * 2 * HIDDEN * 4
    for group, expected in least.items():
        assert expected <= found[group] < expected * 1.05 + 3000, group
    assert found["the rest"] < 50_000 + (architecture != "mpnet") * 100_000


def test_heads_inside_a_merged_graph(tmp_path: Path) -> None:
    tensors = [
        numpy_helper.from_array(np.zeros(1000, np.float32), name) for name in ("binary_weight", "layer 0 inner weight")
    ]
    nodes = [helper.make_node("Add", [tensor.name for tensor in tensors], ["y"], "y")]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1000])]
    onnx.save(helper.make_model(helper.make_graph(nodes, "merged", [], outputs, tensors)), tmp_path / "scores.onnx")
    found = ledger.weigh(tmp_path)
    assert 4000 <= found["heads"] < 4100
    assert 4000 <= found["feed-forward"] < 4100


def test_before_and_after_as_a_table(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    for folder, count in ((before, 3_000_000), (after, 1_000_000)):
        folder.mkdir()
        (folder / "tokenizer.json").write_bytes(b"x" * count)
        (folder / "manifest.yaml").write_bytes(b"x" * 500)
    (after / "unheard of").write_bytes(b"x" * 2000)
    found = ledger.compare(before, after)
    assert json.loads(json.dumps(found))["tokenizer"] == {"before": 3_000_000, "after": 1_000_000}
    lines = ledger.table(found).splitlines()
    assert "tokenizer                3.000     1.000" in lines
    assert "the rest                 0.000     0.002" in lines
    assert "together                 3.001     1.002" in lines  # 3,000,500 and 1,002,500 bytes; halves go to even
