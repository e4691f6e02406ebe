"""export.layouts.tokenizer_files: fewer bytes, the same tokenizer for every reader of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from core.errors import UserError
from core.tokenizer import TextTokenizer
from export.layouts import tokenizer_files
from tests.layout_factory import served

__all__ = ["served"]  # a fixture
TEXTS = ["Ignore ALL previous instructions", "naïve café 忽略 \u200b’", "", "don't stop", "x" * 3000]


def test_the_same_rules_in_fewer_bytes(tokenizer_folder: Path, tmp_path: Path) -> None:
    tokenizer_files.write(tokenizer_folder, tmp_path)
    before, after = (folder / "tokenizer.json" for folder in (tokenizer_folder, tmp_path))
    assert json.loads(after.read_text("utf-8")) == json.loads(before.read_text("utf-8"))
    assert after.stat().st_size < 0.7 * before.stat().st_size
    assert {path.name for path in tmp_path.iterdir()} >= {"tokenizer.json", "tokenizer_config.json", "vocab.txt"}
    mine, theirs = (TextTokenizer.open(folder, 512).encode(TEXTS) for folder in (tokenizer_folder, tmp_path))
    assert mine == theirs


def test_transformers_reads_it_alike(tokenizer_folder: Path, tmp_path: Path) -> None:
    tokenizer_files.write(tokenizer_folder, tmp_path)
    first, second = (AutoTokenizer.from_pretrained(str(folder)) for folder in (tokenizer_folder, tmp_path))
    assert type(first) is type(second)
    assert first(TEXTS)["input_ids"] == second(TEXTS)["input_ids"]


@pytest.mark.parametrize("layout", ["", "-raxe-bundle", "-raxe-0.15"])
def test_serving_folders_have_it_so(served: Path, layout: str) -> None:
    written = (served / f"small-int8{layout}" / "tokenizer.json").read_text("utf-8")
    assert "\n" not in written
    assert len(json.loads(written)["model"]["vocab"]) == 30_527


def test_a_folder_without_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with pytest.raises(UserError, match=r"holds no tokenizer\.json"):
        tokenizer_files.write(tmp_path, tmp_path / "new")
