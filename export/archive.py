"""Reading a ZIP archive that may be hostile: names stay inside, sizes within limits, nothing is unpacked to disk."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath

from core.errors import UserError

MOST_FILES = 64
MOST_BYTES = 64_000_000  # of all files together, unpacked
HIGHEST_RATIO = 200  # unpacked bytes for each packed one
SMALL = 100_000  # bytes; a smaller file may be packed as tightly as it will
READ = 1 << 20
DO_NOT = "do not use this archive"


def read(path: Path) -> dict[str, bytes]:
    """Every file of the archive by name; UserError for what an honest archive does not hold.

    Refused: names that are absolute, climb out or come twice, links, encrypted files, too many files or bytes, and
    files that unpack to far more than they take (bombs). Sizes are counted while reading, for what an archive says of
    itself proves nothing.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_all(path, entries)
            left, files = MOST_BYTES, {}
            for entry in entries:
                if not entry.is_dir():
                    files[entry.filename] = _unpack(path, archive, entry, left)
                    left -= len(files[entry.filename])
            return files
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}; give the path of a .raxe bundle") from error
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, ValueError) as error:
        raise UserError(f"{path} is no readable ZIP archive ({error}); fetch it again from its source") from error


def _check_all(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    if len(entries) > MOST_FILES:
        raise UserError(f"{path} holds {len(entries)} files, more than {MOST_FILES}; {DO_NOT}")
    seen = set[str]()
    for entry in entries:
        name = entry.filename
        if (fault := _fault(entry)) is not None:
            raise UserError(f"{path} holds {name!r}, which {fault}; {DO_NOT}")
        if name.casefold() in seen:  # some file systems cannot tell them apart
            raise UserError(f"{path} holds {name!r} twice, and readers may differ in which they take; {DO_NOT}")
        seen.add(name.casefold())


def _fault(entry: zipfile.ZipInfo) -> str | None:
    """What is wrong with an entry, as the end of a sentence."""
    name = entry.orig_filename  # before zipfile cuts it at a NUL
    if not name or "\0" in name or "\\" in name:
        return "is no plain name"
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive:
        return "is an absolute path"
    if ".." in PurePosixPath(name).parts:
        return "climbs out of the archive"
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if entry.flag_bits & 0x1:
        return "is encrypted"
    if entry.file_size > MOST_BYTES:
        return f"says it has {entry.file_size:,} bytes, more than {MOST_BYTES:,}"
    return None


def _unpack(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, left: int) -> bytes:
    """The bytes of one file, at most `left`."""
    parts, size = list[bytes](), 0
    with archive.open(entry) as stream:
        while part := stream.read(READ):
            size += len(part)
            if size > left:
                raise UserError(f"{path} unpacks to more than {MOST_BYTES:,} bytes; {DO_NOT}")
            if size > SMALL and size > HIGHEST_RATIO * max(entry.compress_size, 1):
                raise UserError(
                    f"{path} holds {entry.filename!r}, which unpacks to over {HIGHEST_RATIO} times its size; {DO_NOT}"
                )
            parts.append(part)
    return b"".join(parts)
