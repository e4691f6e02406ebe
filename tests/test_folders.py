"""Folders are proved writable before work begins, and no file is ever half-written."""

import os
from pathlib import Path

import pytest

from core.errors import UserError
from core.folders import atomic_write, writable


def test_creates_the_folder_and_leaves_nothing_in_it(tmp_path: Path) -> None:
    folder = writable(tmp_path / "a" / "b")
    assert folder == tmp_path / "a" / "b"
    assert list(folder.iterdir()) == []


def test_a_file_in_the_way_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"cannot write in .*file/b: .*file is a file; .*output=FOLDER"):
        writable(tmp_path / "file" / "b")


def test_a_folder_that_takes_no_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"No space left on device; .*output=FOLDER"):
        writable(tmp_path)


@pytest.mark.parametrize(("data", "stored"), [("é\n", "é\n".encode()), (b"\x00\r\n", b"\x00\r\n")])
def test_writes_exactly_the_data(tmp_path: Path, data: bytes | str, stored: bytes) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    atomic_write(path, data)
    assert path.read_bytes() == stored
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_is_readable_as_any_new_file_is(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    atomic_write(tmp_path / "atomic", "x")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_keeps_the_old_content_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "file"
    path.write_text("before")

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space"):
        atomic_write(path, "after")
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
