"""Folders that can be written in, and files that are whole or absent."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import UserError


def writable(folder: Path) -> Path:
    """Create `folder`, prove that a file can be written in it, and return it.

    Raises UserError before hours of work end in a folder that takes no result.
    """
    try:
        blocking = next((part for part in (folder, *folder.parents) if part.exists() and not part.is_dir()), None)
        if blocking is not None:
            raise NotADirectoryError(0, f"{blocking} is a file")
        folder.mkdir(parents=True, exist_ok=True)
        # Access bits say nothing of read-only mounts and full disks (nor to root), so really write.
        probe = folder / f".probe-{uuid.uuid4().hex}"
        try:
            probe.write_bytes(b"probe")
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UserError(f"cannot write in {folder}: {reason}; choose another folder with output=FOLDER") from error
    return folder


def atomic_write(path: Path, data: bytes | str) -> None:
    """Write `data` (text as UTF-8) so that `path` holds either what it held before or all of it."""
    # Beside the target, because os.replace is atomic only within one file system; opened plainly rather than by
    # `tempfile`, whose files no other user may read.
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())  # otherwise a power cut can leave the new name on an empty file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Writes readable JSON; the parent folder is made."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes the name `folder` when the block ends well: never a half-written checkpoint."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    temporary.mkdir()
    try:
        yield temporary
        old = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.old")
        if folder.exists():
            os.replace(folder, old)
        os.replace(temporary, folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
