"""eval.resources, eval.footprint: bytes by what they are for; memory and times of a process of its own."""

import json
from pathlib import Path

import pytest

from core import checkpoint, manifest, pretrained, triggers
from core.errors import UserError
from core.heads import HEADS, head_path
from core.lexical import IDF, VOCABULARY
from core.pretrained import load_encoder
from eval import footprint, resources
from export import graph, layouts

# Stands for core.pipeline in the measuring process: Python imports sitecustomize from PYTHONPATH when it starts.
FAKE_PIPELINE = """
import json, os, sys, time, types

class Pipeline:
    def __init__(self, folder):
        if (folder / "broken").exists():
            raise ValueError("weights are\\n  broken")
        time.sleep(0.2)
        self.folder, self.heard, self.held = folder, [], []

    def use_threads(self, n):
        self.threads = n

    def __call__(self, text):
        print("a library that talks on stdout")
        if not self.heard:
            time.sleep(0.3)
        self.heard.append(text)
        self.held = self.held or bytearray(200_000_000)
        self.held[::4096] = b"x" * len(self.held[::4096])
        if len(self.heard) == 100:
            self.held = bytearray(100_000_000)
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
    weighed = resources.weigh(folder)
    assert weighed.model_size_mb == 2.25
    assert weighed.bytes_by_group == {
        "encoder": 1_500_000,
        "heads": 0,
        "tokenizer": 500_000,
        "triggers and labels": 0,
        "documentation and manifest": 0,
        "training extras": 0,
        "other": 250_000,
    }
    assert (weighed.memory_usage_mb, weighed.steady_memory_mb, weighed.cold_start) == (None, None, None)


def test_every_file_of_a_checkpoint_has_its_group(tiny_checkpoint: Path) -> None:
    groups = resources.bytes_by_group(tiny_checkpoint)
    assert groups["other"] == 0
    assert all(groups[name] > 0 for name in groups if name != "other")
    files = [path for path in tiny_checkpoint.rglob("*") if path.is_file()]
    assert sum(groups.values()) == sum(path.stat().st_size for path in files)
    assert groups["training extras"] == (tiny_checkpoint / checkpoint.RAW_HEADS).stat().st_size


def test_names_of_files_and_their_groups_are_those_that_are_written() -> None:
    expected = {
        "encoder": [*layouts.GRAPH.values(), "embeddings.onnx.data", "model.safetensors", "config.json", IDF],
        "heads": [head_path(Path(), head).name for head in HEADS],
        "tokenizer": [*pretrained.TOKENIZER_FILES, VOCABULARY],
        "triggers and labels": [triggers.FILE, checkpoint.TAXONOMY, "label_encoders.json"],
        "documentation and manifest": [manifest.NAME, "README.md", "LICENSE", "model_metadata.json"],
        "training extras": [checkpoint.RAW_HEADS],
        "other": [".gitattributes", "notes.txt"],
    }
    expected["encoder"] += [
        f"{pretrained.POOLING}/config.json",
        f"{pretrained.DENSE}/model.safetensors",
        "2_Normalize/x",
    ]
    for group, names in expected.items():
        assert {name: resources.group_of(name) for name in names} == dict.fromkeys(names, group)


def test_nothing_to_weigh_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such checkpoint folder"):
        resources.weigh(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no file"):
        resources.weigh(tmp_path / "empty")


def test_a_process_of_its_own_is_measured(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ballast = b"x" * 400_000_000  # the parent's memory must not be counted as the child's
    monkeypatch.chdir(tmp_path)  # from any working directory, with a relative folder and awkward texts
    texts = ["'; rm -rf \u2028 \ud800", *(f"text {index}" for index in range(249))]
    used = resources.measure(Path("checkpoint"), texts, threads=2)
    assert len(ballast) == 400_000_000
    assert used.model_size_mb == 2.25
    assert used.memory_usage_mb is not None
    assert used.steady_memory_mb is not None
    assert used.cpu_usage_percent is not None
    assert used.cold_start is not None
    assert 200 < used.memory_usage_mb < 400  # the peak holds the first allocation, the steady state the second
    assert 100 < used.steady_memory_mb < used.memory_usage_mb - 90
    assert used.cold_start.open_s >= 0.2
    assert used.cold_start.first_call_s >= 0.3
    assert used.cold_start.import_s >= 0
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


def test_a_serving_folder_is_measured_without_torch(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = tmp_path / "tiny-fp32"
    served.mkdir()
    exported = graph.to_onnx(load_encoder(tiny_checkpoint))
    product = layouts.Product(manifest.read(tiny_checkpoint), exported, "fp32", served.name)
    layouts.write("raxe-folder", served, product, "")
    (tmp_path / "site").mkdir()
    missing = ("torch", "transformers", "sklearn", "pydantic", "scipy", "pandas", "onnx")
    blocked = "import sys\n" + "".join(f"sys.modules[{name!r}] = None\n" for name in missing)
    (tmp_path / "site" / "sitecustomize.py").write_text(blocked)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    used = resources.measure(served, ["one text", "and another"])
    assert used.bytes_by_group["other"] == used.bytes_by_group["training extras"] == 0
    assert used.memory_usage_mb is not None
    assert used.steady_memory_mb is not None
    assert used.cold_start is not None
    assert 20 < used.steady_memory_mb <= used.memory_usage_mb < 400
    assert min(used.cold_start.import_s, used.cold_start.open_s, used.cold_start.first_call_s) > 0


def test_wrong_usage_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert footprint.main([]) == 2
    assert capsys.readouterr().err.startswith("error: usage:")


def test_memory_is_plausible() -> None:
    assert 5 < footprint.memory_mb("VmRSS") <= footprint.memory_mb("VmHWM") < 100_000
    assert footprint.memory_mb("VmNone") == pytest.approx(footprint.memory_mb("VmRSS"), rel=0.2)
