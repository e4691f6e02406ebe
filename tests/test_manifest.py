"""core.manifest: every file is verified, and what is wrong is named."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import yaml

from core import manifest
from core.errors import UserError

FIELDS = {
    "name": "student", "version": "0.1.0", "status": "experimental", "kind": "torch", "embedding_dim": 8,
    "max_length": 64, "provenance": {"note": "naïve"},
}  # fmt: skip
FILES = {"config.json": b"{}", "model.safetensors": b"weights", "2_Dense/config.json": b"[]"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a manifest."""
    folder = tmp_path / "student"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    manifest.write(folder, FIELDS)
    return folder


def rewrite(folder: Path, **changes: object) -> None:
    """Changes top-level fields of the manifest; None removes one."""
    path = folder / manifest.NAME
    fields = {**yaml.safe_load(path.read_text(encoding="utf-8")), **changes}
    path.write_text(yaml.safe_dump({key: value for key, value in fields.items() if value is not None}))


def test_round_trip(folder: Path) -> None:
    read = manifest.read(folder)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    assert read.fields == {**FIELDS, "files": hashes}
    assert (read.folder, read.name, read.kind, read.max_length) == (folder, "student", "torch", 64)


def test_digest_is_of_the_content_alone(folder: Path, tmp_path: Path) -> None:
    before = manifest.read(folder).digest
    renamed = tmp_path / "elsewhere"
    folder.rename(renamed)
    assert manifest.write(renamed, {**FIELDS, "name": "other"}).digest == before
    (renamed / "config.json").write_bytes(b"{ }")
    assert manifest.write(renamed, FIELDS).digest != before


def test_how_a_folder_is_served_is_part_of_its_digest(folder: Path) -> None:
    plain = manifest.read(folder)
    lines = "\n".join(f"{name} {digest}" for name, digest in sorted(plain.fields["files"].items()))
    assert plain.digest == hashlib.sha256(lines.encode()).hexdigest()  # as before there was anything to be asked
    asked = [{"decode": decode, "decoded_limit": 0.5, "first_layer": None} for decode in ("beside", "instead")]
    served = [manifest.write(folder, {**FIELDS, "serving": one}) for one in asked]
    assert len({plain.digest, *(one.digest for one in served)}) == 3
    again = manifest.write(folder, {**FIELDS, "serving": dict(reversed(asked[0].items()))})
    assert again.digest == served[0].digest
    assert again.fields["files"] == plain.fields["files"]


def test_the_manifest_does_not_list_itself_when_written_again(folder: Path) -> None:
    first = manifest.read(folder).fields["files"]
    assert manifest.write(folder, FIELDS).fields["files"] == first


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_is_named(folder: Path, name: str) -> None:
    content = bytearray(FILES[name])
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name} does not match its SHA-256"):
        manifest.read(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UserError, match=rf"{name} is missing but listed"):
        manifest.read(folder)


@pytest.mark.parametrize("name", ["../outside", "2_Dense/../../outside", "/etc/hostname", "link", "."])
def test_a_file_outside_the_folder_is_refused(folder: Path, name: str) -> None:
    outside = folder.parent / "outside"
    outside.write_bytes(b"secret")
    (folder / "link").symlink_to(outside)
    rewrite(folder, files={name: hashlib.sha256(b"secret").hexdigest()})
    with pytest.raises(UserError, match="outside the folder"):
        manifest.read(folder)


def test_a_folder_that_is_none_of_ours(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no checkpoint folder at .*nowhere"):
        manifest.read(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"not one of our checkpoints: it holds no manifest\.yaml"):
        manifest.read(tmp_path)


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe\x00", b"", b"3", b"!!python/object/apply:os.getcwd []"])
def test_a_damaged_manifest_is_named(folder: Path, content: bytes) -> None:
    (folder / manifest.NAME).write_bytes(content)
    with pytest.raises(UserError, match=r"manifest\.yaml is damaged"):
        manifest.read(folder)


@pytest.mark.parametrize("key", manifest.REQUIRED)
def test_a_missing_field_is_named(folder: Path, key: str) -> None:
    rewrite(folder, **{key: None})
    with pytest.raises(UserError, match=rf"lacks {key};"):
        manifest.read(folder)


@pytest.mark.parametrize("content", ["just text", "- a\n- list"])
def test_another_kind_of_yaml_is_refused(folder: Path, content: str) -> None:
    (folder / manifest.NAME).write_text(content)
    with pytest.raises(UserError, match=r"manifest\.yaml"):
        manifest.read(folder)


@pytest.mark.parametrize("files", [["config.json"], "config.json", 3])
def test_files_must_be_a_table(folder: Path, files: object) -> None:
    rewrite(folder, files=files)
    with pytest.raises(UserError, match=r"manifest\.yaml"):
        manifest.read(folder)


def test_a_file_that_nothing_vouches_for_is_refused(folder: Path) -> None:
    (folder / ".gitattributes").write_text("left behind by a hub; never read")
    manifest.read(folder)
    (folder / "2_Dense").mkdir(exist_ok=True)
    (folder / "2_Dense" / "smuggled.json").write_text("{}")
    with pytest.raises(UserError, match=r"smuggled\.json is not listed"):
        manifest.read(folder)
