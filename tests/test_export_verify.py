"""export.verify: honest folders pass, each fault is named; hostile archives are refused and no pickle is loaded."""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import onnx
import pytest

from core import manifest
from core.errors import UserError
from export import archive, verify
from export.checks import tokenizer
from export.checks.folder import check
from export.layouts import bundle_files, outputs
from tests.export_factory import random_encoder
from tests.layout_factory import served

__all__ = ["served"]
ROOT = Path(__file__).resolve().parents[1]


def faults(folder: Path) -> str:
    """All sentences together."""
    return " | ".join(f"{name}: {fault}" for name, found in check(folder) for fault in found)


@pytest.fixture
def copied(served: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a serving folder that may be spoilt."""

    def copy(name: str) -> Path:
        shutil.copytree(served / name, tmp_path / name)
        return tmp_path / name

    return copy


def sign(folder: Path, **fields: Any) -> None:
    """Whoever spoilt the folder also wrote its hashes anew."""
    stored = yaml_fields(folder)
    manifest.write(folder, {**stored, **fields})


def yaml_fields(folder: Path) -> dict[str, Any]:
    import yaml

    fields: dict[str, Any] = yaml.safe_load((folder / "manifest.yaml").read_text())
    return fields


@pytest.mark.parametrize(
    "name",
    ["small-fp32", "small-int8", "small-int8-raxe-bundle", "small-int8-raxe-0.15", "small-sentence-transformers"],
)
def test_what_was_exported_verifies(served: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.work(argparse.Namespace(path=served / name)) == 0
    told = capsys.readouterr().out
    assert "wrong" not in told
    assert "smoke text through" in told
    assert told.splitlines()[-1] == f"{served / name} verifies"


def test_a_bundle_alone_verifies(served: Path) -> None:
    (path,) = (served / "small-int8-raxe-bundle").glob("*.raxe")
    assert [found for _, found in verify.findings(path)] == [[]]


def test_a_changed_file_is_named_before_anything_else(copied: Callable[[str], Path]) -> None:
    folder = copied("small-int8")
    (folder / "label_encoders.json").write_text("{}")
    with pytest.raises(UserError, match=r"label_encoders\.json does not match its SHA-256"):
        list(check(folder))


def test_a_checkpoint_is_no_serving_folder(served: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a checkpoint"):
        list(verify.findings(served / "small"))
    with pytest.raises(UserError, match="there is nothing at"):
        list(verify.findings(tmp_path / "nothing"))


# Graphs and heads


def test_outputs_in_the_wrong_order_are_told(copied: Callable[[str], Path]) -> None:
    folder = copied("small-fp32")
    swapped = outputs.tokens_first(onnx.load(folder / "embeddings.onnx"))
    (folder / "embeddings.onnx").write_bytes(swapped.SerializeToString())
    sign(folder)
    assert (
        "its outputs are last_hidden_state, sentence_embedding; the consumer takes them by order: sentence"
        in faults(folder)
    )


def test_the_graph_of_another_model_gives_itself_away(copied: Callable[[str], Path]) -> None:
    from export.graph import to_onnx

    folder = copied("small-fp32")
    (folder / "embeddings.onnx").write_bytes(to_onnx(random_encoder(77, 40)).SerializeToString())
    sign(folder)
    assert "off what the manifest states" in faults(folder)


def test_versions_and_data_outside_the_file_are_told(copied: Callable[[str], Path]) -> None:
    folder = copied("small-fp32")
    sign(folder, ir_version=9)
    assert "its ir_version is 10, the manifest states 9" in faults(folder)
    model = onnx.load(folder / "embeddings.onnx")
    onnx.save(model, folder / "embeddings.onnx", save_as_external_data=True, location="x.data")
    sign(folder, ir_version=10)
    with_data = faults(folder)
    assert "its weights lie in another file" in with_data


def test_heads_are_held_to_their_labels_and_form(copied: Callable[[str], Path], served: Path) -> None:
    folder = copied("small-fp32")
    labels = json.loads((folder / "label_encoders.json").read_text())
    (folder / "label_encoders.json").write_text(json.dumps(labels | {"family": {"0": "JB"}}))
    shutil.copyfile(served / "small-fp32-raxe-0.15" / "classifier_is_threat.onnx", folder / "classifier_binary.onnx")
    (folder / "classifier_subfamily.onnx").unlink()
    sign(folder)
    told = faults(folder)
    assert "classifier_family.onnx: it gives 2 probabilities for 1 classes" in told
    assert "classifier_binary.onnx: output 1 is an array, the consumer reads the other" in told
    assert "classifier_subfamily.onnx: it is missing" in told


def test_two_graphs_in_a_raxe_folder_are_told(copied: Callable[[str], Path]) -> None:
    folder = copied("small-fp32")
    shutil.copyfile(folder / "embeddings.onnx", folder / "embeddings_2.onnx")
    sign(folder)
    assert "2 files embeddings*.onnx; the consumer takes one" in faults(folder)


# Tokenizer


def change(folder: Path, name: str, **values: Any) -> None:
    stored = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(stored | values))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("BertTokenizer", "BERT numbers the same word pieces from 0"),
        ("RobertaTokenizerFast", "RoBERTa splits bytes into 50,265 pieces"),
        ("GPT2Tokenizer", "GPT has no padding token"),
        ("T5TokenizerFast", "T5 pads with id 0"),
    ],
)
def test_other_tokenizers_are_refused_with_the_reason(copied: Callable[[str], Path], kind: str, reason: str) -> None:
    folder = copied("small-fp32")
    change(folder, "tokenizer_config.json", tokenizer_class=kind)
    sign(folder)
    told = faults(folder)
    assert f"the tokenizer is a {kind}, and the model reads MPNetTokenizer's ids" in told
    assert reason in told


def rules(**changed: Any) -> dict[str, Any]:
    """A tokenizer.json of five tokens that is right but for what is changed."""
    right = {
        "truncation": None,
        "normalizer": {"type": "BertNormalizer", "lowercase": True},
        "post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0]},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": {"[UNK]": 3}},
        "added_tokens": [
            {"content": name, "id": place} for name, place in (("<s>", 0), ("<pad>", 1), ("</s>", 2), ("<mask>", 4))
        ],
    }
    return right | changed


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"model": {"type": "BPE", "vocab": {}}}, "splits by BPE (RoBERTa's and GPT's), MPNet by WordPiece"),
        ({"model": {"type": "Unigram", "vocab": []}}, "splits by Unigram (T5's and XLM-RoBERTa's)"),
        ({"normalizer": {"type": "BertNormalizer", "lowercase": False}}, "does not lower-case"),
        ({"post_processor": None}, "no <s> and </s> are put around a text"),
        ({"added_tokens": rules()["added_tokens"][:2]}, "</s> has id None, the encoder takes it for 2"),
        ({"added_tokens": rules()["added_tokens"][:3]}, "the tokenizer has no <mask>"),
        ({"truncation": {"max_length": 16}}, "cuts texts at 16 tokens, the model was judged at 48"),
        ({"model": {"type": "WordPiece", "unk_token": "<unk>", "vocab": {"[UNK]": 3}}}, "unknown words become <unk>"),
        ({"model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": {"[UNK]": 3, "a": 5}}}, "has 6 entries"),
    ],
)
def test_each_fault_of_a_tokenizer_is_named(tmp_path: Path, changed: dict[str, Any], fault: str) -> None:
    stated = {"vocabulary_size": 5, "config": {"max_length": 48}}
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "MPNetTokenizer"}')
    (tmp_path / "tokenizer.json").write_text(json.dumps(rules()))
    assert tokenizer.problems(tmp_path, stated, 5) == []
    (tmp_path / "tokenizer.json").write_text(json.dumps(rules(**changed)))
    assert fault in " ".join(tokenizer.problems(tmp_path, stated, 5))


def test_who_obeys_tokenizer_json_needs_its_truncation(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "MPNetTokenizer"}')
    (tmp_path / "tokenizer.json").write_text(json.dumps(rules()))
    stated = {"vocabulary_size": 5, "config": {"max_length": 48}}
    assert tokenizer.problems(tmp_path, stated, 5, obeyed=True) == [
        "tokenizer.json cuts texts nowhere, the model was judged at 48"
    ]


def test_without_a_statement_the_vocabulary_is_the_whole_one(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "MPNetTokenizer"}')
    (tmp_path / "tokenizer.json").write_text(json.dumps(rules()))
    assert "the tokenizer has 5 entries, the manifest states 30,527" in tokenizer.problems(tmp_path, {}, None)


# Bundles and archives


def test_what_is_wrong_in_a_bundle_is_named(copied: Callable[[str], Path]) -> None:
    folder = copied("small-int8-raxe-bundle")
    (path,) = folder.glob("*.raxe")
    files = archive.read(path)
    told = json.loads(files["manifest.json"])
    spoilt = files | {
        "schema.json": b"{}",
        "extra.json": b"{}",
        "manifest.json": json.dumps(told | {"bundle_version": "2.0.0"}).encode(),
    }
    path.write_bytes(bundle_files.pack(spoilt))
    found = dict(verify.findings(path))["archive, files and checksums (its pickles by hash alone)"]
    assert found == [
        "its bundle_version is 2.0.0, the loader knows 1.0.0",
        "extra.json is not in the checksums: nothing vouches for it",
        "schema.json does not match its checksum: it was changed or damaged",
    ]
    path.write_bytes(bundle_files.pack({"manifest.json": files["manifest.json"]}))
    ((_, missing),) = verify.findings(path)
    assert missing[0].startswith("it lacks attack_clusters.joblib, classifier.joblib")


def test_a_moved_bundle_is_told_that_its_tokenizer_stayed(copied: Callable[[str], Path], served: Path) -> None:
    folder = copied("small-int8-raxe-bundle")
    (path,) = folder.glob("*.raxe")
    files = archive.read(path)
    embedding = json.loads(files["embedding_config.json"])
    files["embedding_config.json"] = json.dumps(embedding | {"model_name": str(folder / "gone")}).encode()
    path.write_bytes(bundle_files.pack(files))
    sign(folder)
    assert "where that tokenizer is not: export with export.bundle_tokenizer" in faults(folder)


class Trap:
    """Unpickled, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_no_pickle_is_loaded(copied: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copied("small-int8-raxe-bundle")
    (path,) = folder.glob("*.raxe")
    files, stream = archive.read(path), io.BytesIO()
    joblib.dump(Trap(tmp_path / "sprung"), stream)
    joblib.load(io.BytesIO(stream.getvalue()))
    assert (tmp_path / "sprung").is_dir()  # the trap works
    (tmp_path / "sprung").rmdir()
    path.write_bytes(bundle_files.pack(files | {"classifier.joblib": stream.getvalue()}))
    sign(folder)
    assert "classifier.joblib does not match its checksum" in faults(folder)
    assert not (tmp_path / "sprung").exists()


def zipped(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in entries:
            made.writestr(name, data)
    return path


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../evil", "climbs out of the archive"),
        ("a/../../evil", "climbs out of the archive"),
        ("/etc/passwd", "is an absolute path"),
        ("C:/evil", "is an absolute path"),
        ("a\\evil", "is no plain name"),
    ],
)
def test_names_that_leave_the_archive_are_refused(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(UserError, match=f"which {reason}; do not use this archive"):
        archive.read(zipped(tmp_path / "x.raxe", (name, b"1")))


def test_links_and_doubles_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(UserError, match="'link', which is a link or a device"):
        archive.read(zipped(tmp_path / "x.raxe", (link, b"/etc/passwd")))
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = zipped(tmp_path / "y.raxe", ("a", b"1"), ("a", b"2"))
    with pytest.raises(UserError, match="holds 'a' twice"):
        archive.read(twice)
    with pytest.raises(UserError, match="holds 'A' twice"):
        archive.read(zipped(tmp_path / "z.raxe", ("a", b"1"), ("A", b"2")))


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = zipped(tmp_path / "x.raxe", ("zeros", bytes(10_000_000)))
    with pytest.raises(UserError, match="'zeros', which unpacks to over 200 times its size"):
        archive.read(bomb)
    monkeypatch.setattr(archive, "MOST_BYTES", 3000)
    with pytest.raises(UserError, match="says it has 4,000 bytes, more than 3,000"):
        archive.read(zipped(tmp_path / "y.raxe", ("big", os.urandom(4000))))
    several = [(f"part {number}", os.urandom(1500)) for number in range(3)]
    with pytest.raises(UserError, match="unpacks to more than 3,000 bytes"):
        archive.read(zipped(tmp_path / "z.raxe", *several))
    with pytest.raises(UserError, match="holds 65 files, more than 64"):
        archive.read(zipped(tmp_path / "w.raxe", *((str(number), b"") for number in range(65))))


def test_a_size_that_lies_is_no_way_round(tmp_path: Path) -> None:
    """The central directory says 10 bytes, the stream holds ten million."""
    path = zipped(tmp_path / "x.raxe", ("zeros", bytes(10_000_000)))
    content = path.read_bytes()
    path.write_bytes(content.replace((10_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(UserError, match="is no readable ZIP archive"):
        archive.read(path)


def test_what_is_no_archive_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.raxe").write_bytes(b"PK\x03\x04 but not really")
    with pytest.raises(UserError, match="is no readable ZIP archive"):
        archive.read(tmp_path / "x.raxe")


def test_the_command_line_has_three_answers(served: Path, copied: Callable[[str], Path]) -> None:
    def status(path: Path) -> tuple[int, str]:
        command = [sys.executable, "-m", "export.verify", str(path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout + done.stderr

    folder = copied("small-fp32")
    change(folder, "tokenizer_config.json", tokenizer_class="BertTokenizer")
    sign(folder)
    assert status(folder)[0] == 1
    assert "must not be served: 1 fault" in status(folder)[1]
    assert status(served)[0] == 2  # a folder without a manifest
    (path,) = (served / "small-int8-raxe-bundle").glob("*.raxe")
    assert status(path) == (0, f"ok     archive, files and checksums (its pickles by hash alone)\n{path} verifies\n")
