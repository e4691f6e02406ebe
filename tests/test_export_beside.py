"""export.beside: our graph and the stock one in turn, what is said of it, and the profile by operator."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from core import manifest
from core.errors import UserError
from core.pretrained import load_encoder, write_encoder
from core.schema import Experiment
from core.spec import Excerpt
from distill import token_weights
from export import beside, graph, int8, timing
from export.stock import stock_int8
from tests.export_factory import LAYERS, random_encoder, random_texts

VOCABULARY = 30527


@pytest.fixture(scope="module")
def exported() -> bytes:
    model = graph.to_onnx(random_encoder(3, 40))
    return int8.quantise(model, int8.observe(model, random_texts([5, 30]))).SerializeToString()


def test_graphs_run_in_turn_at_each_length(exported: bytes) -> None:
    spent = timing.race({"a": exported, "b": exported}, (4, 9), rounds=2, calls=3, vocabulary=VOCABULARY, seed=1)
    assert {name: times.shape for name, times in spent.items()} == {"a": (2, 2, 3), "b": (2, 2, 3)}
    assert all((times > 0).all() for times in spent.values())


def test_the_profile_counts_what_runs(exported: bytes, tmp_path: Path) -> None:
    found = timing.profile(exported, 8, 3, VOCABULARY, tmp_path)
    assert found["MatMulIntegerToFloat"][0] == 6 * LAYERS + 1
    assert found["Attention"][0] == LAYERS
    milliseconds = [total for _, total in found.values()]
    assert milliseconds == sorted(milliseconds, reverse=True)


@pytest.mark.parametrize(("ours", "said"), [(1.0, "1.500 times"), (1.2, "1.250 times"), (2.0, "0.750 times")])
def test_the_verdict_by_hand(ours: float, said: str) -> None:
    """All calls alike: the interval is the ratio itself, and 1.25 is at least 1.25."""
    sentence = beside._sentence(64, np.full((2, 5), 1.5), np.full((2, 5), ours), 1)
    assert said in sentence
    assert sentence.startswith("64 tokens: stock 1.50 ms")
    assert sentence.endswith("missed" if ours == 2.0 else "reached")


def test_a_ratio_whose_interval_holds_the_target_is_not_decided() -> None:
    generator = np.random.default_rng(0)
    stock, ours = 1.25 * generator.lognormal(0, 0.3, (4, 25)), generator.lognormal(0, 0.3, (4, 25))
    assert beside._sentence(32, stock, ours, 1).endswith("not decided")


def test_the_stock_export_is_theirs(tiny_checkpoint: Path) -> None:
    before = sorted(path.name for path in tiny_checkpoint.rglob("*"))
    stock = stock_int8(tiny_checkpoint)
    assert sorted(path.name for path in tiny_checkpoint.rglob("*")) == before
    session = onnxruntime.InferenceSession(stock, providers=["CPUExecutionProvider"])
    (states,) = session.run(None, timing.text_of(6, VOCABULARY, 1))
    assert states.shape == (1, 6, 32)
    kinds = [node.op_type for node in onnx.load_from_string(stock).graph.node]
    assert "DynamicQuantizeLinear" in kinds


def test_the_command(
    tiny_checkpoint: Path,
    data: dict[str, list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(beside, "ROUNDS", 1)
    monkeypatch.setattr(beside, "CALLS", 3)
    whole: dict[str, Any] = {"name": "tiny", "output": str(tmp_path), "checkpoint": str(tiny_checkpoint), "data": data}
    assert beside.work(Experiment.model_validate(whole)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" tokens")[0] for line in lines[:3]] == ["32", "64", "128"]
    assert lines[3].startswith("int8 at 64 tokens, by operator")
    assert any("MatMulIntegerToFloat" in line for line in lines[4:])
    assert list(tmp_path.iterdir()) == []


def test_what_no_one_else_opens_is_not_raced(tiny_checkpoint: Path, data: dict[str, list[str]], tmp_path: Path) -> None:
    folder = tmp_path / "reads"
    shutil.copytree(tiny_checkpoint, folder)
    known, encoder = manifest.read(folder), load_encoder(folder)
    weights = np.zeros(encoder.spec.vocabulary_size, np.uint8)
    write_encoder(folder, token_weights.give(encoder, Excerpt(16, 4), weights), known.max_length, tiny_checkpoint)
    manifest.write(folder, known.fields)
    whole: dict[str, Any] = {"name": "tiny", "output": str(tmp_path), "checkpoint": str(folder), "data": data}
    with pytest.raises(UserError, match="reads excerpts, so sentence-transformers cannot open it"):
        beside.work(Experiment.model_validate(whole))
