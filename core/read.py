"""Readers of JSONL, CSV, Parquet, folders of them and hub data sets: each row with its location, or what is wrong."""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from core.errors import UserError
from core.faults import Fault
from core.schema import Source

if TYPE_CHECKING:
    import pyarrow

SUFFIXES = (".jsonl", ".csv", ".parquet")


class Record(NamedTuple):
    """One raw row: the file it is from, `file:line`, and its columns or what is wrong with it."""

    origin: str
    location: str
    value: Mapping[str, object] | Fault


def read(source: Source) -> Iterator[Record]:
    """All rows of a source, in order; UserError where a whole file (or the hub) cannot be read."""
    if source.hub is not None:
        yield from _hub(source.hub, source.subset, source.split)
    elif source.path is not None and source.path.is_dir():
        files = sorted(path for path in source.path.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
        if not files:
            raise UserError(f"{source.path} holds no {', '.join(SUFFIXES)} file: put one in it, or give another path")
        for path in files:
            yield from _file(path)
    elif source.path is not None:
        yield from _file(source.path)


def _file(path: Path) -> Iterator[Record]:
    try:
        match path.suffix.lower():
            case ".jsonl":
                yield from _jsonl(path)
            case ".csv":
                yield from _csv(path)
            case ".parquet":
                yield from _parquet(path)
            case other:
                raise UserError(f"{path}: cannot read {other or 'a file without ending'}; give {', '.join(SUFFIXES)}")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def _jsonl(path: Path) -> Iterator[Record]:
    with path.open("rb") as lines:  # bytes, so that one line that is not UTF-8 does not stop the file
        for number, raw in enumerate(lines, 1):
            line = raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
            if line.strip():
                yield Record(path.name, f"{path}:{number}", _json_row(line))


def _json_row(line: bytes) -> dict[str, object] | Fault:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return Fault("not UTF-8", f"byte {error.start + 1} of the line is not UTF-8")
    except json.JSONDecodeError as error:
        return Fault("broken line", f"not JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:  # a number of over 4300 digits, thousands of brackets
        return Fault("broken line", f"not readable JSON ({type(error).__name__})")
    return row if isinstance(row, dict) else Fault("broken line", f"a JSON {type(row).__name__}, not an object")


def _csv(path: Path) -> Iterator[Record]:
    csv.field_size_limit(2**31 - 1)  # the default 131,072 would break on long texts; `data.max_characters` judges them
    # surrogateescape keeps bytes that are not UTF-8 recognisable, so that the row can be named.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
        reader = csv.reader(lines, strict=True)
        header = _header(path, reader)
        while True:
            start = reader.line_num + 1  # a quoted field may run over several lines
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if "unexpected end" in str(error):  # it swallowed the rest of the file: too much to drop as one row
                    raise UserError(f"{path}:{start}: a quote opened in this row is never closed: close it") from error
                yield Record(path.name, f"{path}:{start}", Fault("broken line", f"not CSV: {error}"))
                continue
            if fields:  # an empty line has none
                yield Record(path.name, f"{path}:{start}", _csv_row(header, fields, reader.line_num))


def _header(path: Path, reader: Iterator[list[str]]) -> list[str]:
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise UserError(f"{path}: the header is not CSV ({error}): mend the first line") from error
    if not header or not all(_is_utf8(name) for name in header) or len(set(header)) < len(header):
        raise UserError(f"{path}: the first line must be a header of unlike column names in UTF-8; add or mend it")
    return header


def _csv_row(header: list[str], fields: list[str], end: int) -> dict[str, object] | Fault:
    if not all(_is_utf8(field) for field in fields):
        return Fault("not UTF-8", "the row holds bytes that are not UTF-8")
    if len(fields) != len(header):
        return Fault("broken line", f"{len(fields)} fields, the header has {len(header)} (the row ends in line {end})")
    return dict(zip(header, fields, strict=True))


def _is_utf8(field: str) -> bool:
    try:
        field.encode()
    except UnicodeEncodeError:
        return False
    return True


def _parquet(path: Path) -> Iterator[Record]:
    # Imported here: pyarrow takes 0.3 s, and JSONL needs none of it.
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in _parquet_rows(batch):
                    number += 1
                    yield Record(path.name, f"{path}:row {number}", row)
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise UserError(f"{path} is not a readable Parquet file ({reason}): write or download it again") from error


def _parquet_rows(batch: pyarrow.RecordBatch) -> Iterator[dict[str, object] | Fault]:
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:  # to_pylist fails before the first row is out: find which rows are to blame
        for index in range(batch.num_rows):
            try:
                yield from batch.slice(index, 1).to_pylist()
            except UnicodeDecodeError:
                yield Fault("not UTF-8", "the row holds bytes that are not UTF-8")


def _hub(name: str, subset: str | None, split: str | None) -> Iterator[Record]:
    # Imported here: `datasets` takes 2 s, and files need none of it.
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        rows = datasets.load_dataset(name, subset, split=split)
    # OSError: no network, no such set; ValueError: no such subset or split; RuntimeError: a set that is a script.
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        wanted = " ".join(filter(None, (name, subset, split)))
        reason = str(error).partition("\n")[0].rstrip(".")
        raise UserError(
            f"the hub cannot be reached or has no data set `{wanted}` ({reason}): run where there is a network or a"
            " filled cache (HF_HOME), or download the files and give `path:` instead of `hub:`"
        ) from error
    for number, row in enumerate(rows, 1):
        yield Record(name, f"hub:{name}/{split}:row {number}", dict(row))
