"""Folders that can be written in, and files that are whole or absent."""

from __future__ import annotations

import os
import uuid
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
