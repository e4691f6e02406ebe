"""eval.resources: bytes on disk, and memory and processor time of a process of its own."""

import json
from pathlib import Path

import pytest

from core.errors import UserError
from eval import resources

# Stands for core.pipeline in the measuring process: Python imports sitecustomize from PYTHONPATH when it starts.
FAKE_PIPELINE = """
import json, os, sys, types

class Pipeline:
    def __init__(self, folder):
        if (folder / "broken").exists():
            raise ValueError("weights are\\n  broken")
        self.folder, self.heard, self.held = folder, [], []

    def use_threads(self, n):
        self.threads = n

    def __call__(self, text):
        print("a library that talks on stdout")
        self.heard.append(text)
        self.held = self.held or bytearray(200_000_000)
        self.held[::4096] = b"x" * len(self.held[::4096])
        (self.folder / "heard.json").write_text(json.dumps([self.threads, self.heard]))

fake = types.ModuleType("core.pipeline")
fake.open_pipeline = Pipeline
sys.modules["core.pipeline"] = fake
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(FAKE_PIPELINE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    checkpoint = tmp_path / "checkpoint"
    (checkpoint / "below").mkdir(parents=True)
    (checkpoint / "model.onnx").write_bytes(b"x" * 1_500_000)
    (checkpoint / "below" / "tokenizer.json").write_bytes(b"x" * 500_000)
    (checkpoint / ".hidden").write_bytes(b"x" * 250_000)
    return checkpoint


def test_size_is_every_byte(folder: Path) -> None:
    assert resources.model_size_mb(folder) == 2.25


def test_nothing_to_weigh_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such checkpoint folder"):
        resources.model_size_mb(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no file"):
        resources.model_size_mb(tmp_path / "empty")


def test_a_process_of_its_own_is_measured(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ballast = b"x" * 400_000_000  # the parent's memory must not be counted as the child's
    monkeypatch.chdir(tmp_path)  # from any working directory, with a relative folder and awkward texts
    texts = ["'; rm -rf \u2028 \ud800", *(f"text {index}" for index in range(249))]
    used = resources.measure(Path("checkpoint"), texts, threads=2)
    assert len(ballast) == 400_000_000
    assert used.model_size_mb == 2.25
    assert used.memory_usage_mb is not None
    assert used.cpu_usage_percent is not None
    assert 200 < used.memory_usage_mb < 400
    assert 0 < used.cpu_usage_percent < 400
    threads, heard = json.loads((folder / "heard.json").read_text())
    assert threads == 2
    assert len(heard) == 100
    assert heard[0] == texts[0]
    assert heard[-1] in texts[240:]


def test_what_goes_wrong_inside_is_one_line(folder: Path) -> None:
    (folder / "broken").touch()
    with pytest.raises(UserError) as caught:
        resources.measure(folder, ["a"])
    assert str(caught.value).endswith("failed: ValueError: weights are broken")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="at least one text"):
        resources.measure(folder, [])


def test_wrong_usage_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert resources.main([]) == 2
    assert capsys.readouterr().err.startswith("error: usage:")


def test_peak_memory_is_plausible() -> None:
    assert 5 < resources.peak_memory_mb() < 100_000
