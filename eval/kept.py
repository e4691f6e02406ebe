"""What a report rests on, kept beside it: every prediction and every timed call, as Parquet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
from numpy.typing import NDArray

from core.errors import UserError
from core.folders import atomic_write
from core.rows import Rows, text_hash

PREDICTIONS, CALLS = "predictions.parquet", "calls.parquet"


class Predictions(Protocol):
    """What a classifier says of n texts."""

    @property
    def attack_probability(self) -> NDArray[np.float64]: ...  # (n,)

    @property
    def family(self) -> tuple[str, ...]: ...  # n, the benign family where the decision is benign

    @property
    def subfamily(self) -> tuple[str, ...]: ...  # n, the benign sub-family where the decision is benign

    @property
    def family_confidence(self) -> NDArray[np.float64]: ...  # (n,), of the likeliest family

    @property
    def subfamily_confidence(self) -> NDArray[np.float64]: ...  # (n,)


@dataclass(frozen=True)
class Answers:
    """Predictions read back."""

    attack_probability: NDArray[np.float64]
    family: tuple[str, ...]
    subfamily: tuple[str, ...]
    family_confidence: NDArray[np.float64]
    subfamily_confidence: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Calls:
    """Timed single calls in the order they were made, nanoseconds."""

    row: NDArray[np.int64]
    """Which row was classified, (calls,)."""
    stages: Mapping[str, NDArray[np.int64]]
    """Each stage's time, (calls,); their sum is the call."""
    reference: NDArray[np.int64]
    """Time of the fixed workload run right after that call, (calls,); -1 where it was not run."""
    threads: int

    @property
    def total(self) -> NDArray[np.int64]:
        """(calls,)"""
        return np.sum(list(self.stages.values()), axis=0)


@dataclass(frozen=True, eq=False)
class Kept:
    """Everything that the accuracy and latency of a report follow from."""

    rows: Rows
    predictions: Predictions
    calls: Calls | None = None


def write(kept: Kept, folder: Path) -> tuple[Path, ...]:
    """Writes predictions.parquet and, where calls were timed, calls.parquet; each whole or not at all."""
    rows, said = kept.rows, kept.predictions
    columns: dict[str, Any] = {
        "text_hash": [text_hash(text) for text in rows.texts],
        "text": rows.texts,
        "label": rows.labels,
        "family": rows.families,
        "subfamily": rows.subfamilies,
        "group": rows.groups,
        "source": rows.sources,
        "attack_probability": said.attack_probability,
        "said_family": said.family,
        "said_subfamily": said.subfamily,
        "family_confidence": said.family_confidence,
        "subfamily_confidence": said.subfamily_confidence,
    }
    written = [_write(folder / PREDICTIONS, columns)]
    (folder / CALLS).unlink(missing_ok=True)  # never an older run's beside these predictions
    if (calls := kept.calls) is not None:
        table = {"row": calls.row, **calls.stages, "reference": calls.reference}
        written.append(_write(folder / CALLS, table, {"threads": str(calls.threads)}))
    return tuple(written)


def read(folder: Path) -> Kept:
    """Reads them back. UserError: missing, damaged, or a text that is not the one its hash was taken of."""
    table = _read(folder / PREDICTIONS)
    try:
        column = {name: table.column(name).to_pylist() for name in ("text_hash", "text", "family", "subfamily")}
        column |= {
            name: table.column(name).to_pylist() for name in ("group", "source", "said_family", "said_subfamily")
        }
        numbers = {name: table.column(name).to_numpy() for name in ("label", "attack_probability")}
        numbers |= {name: table.column(name).to_numpy() for name in ("family_confidence", "subfamily_confidence")}
    except KeyError as error:
        raise UserError(f"{folder / PREDICTIONS} lacks the column {error}; judge again with eval.run") from error
    for number, (text, stored) in enumerate(zip(column["text"], column["text_hash"], strict=True), 1):
        if text_hash(text) != stored:
            raise UserError(f"{folder / PREDICTIONS}, row {number}: the text is not the one that was judged (its hash)")
    names = ("text", "family", "subfamily", "group", "source", "said_family", "said_subfamily")
    texts, families, subfamilies, groups, sources, said_family, said_subfamily = (tuple(column[name]) for name in names)
    rows = Rows(texts, numbers["label"].astype(np.int64), families, subfamilies, groups, sources)
    confidence = (numbers[name].astype(np.float64) for name in ("family_confidence", "subfamily_confidence"))
    answers = Answers(numbers["attack_probability"].astype(np.float64), said_family, said_subfamily, *confidence)
    return Kept(rows, answers, _read_calls(folder / CALLS) if (folder / CALLS).exists() else None)


def _read_calls(path: Path) -> Calls:
    table = _read(path)
    try:
        threads = int((table.schema.metadata or {})[b"threads"])
        column = {name: table.column(name).to_numpy().astype(np.int64) for name in table.column_names}
        row, reference = column.pop("row"), column.pop("reference")
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged: {error} is missing or wrong; judge again with eval.run") from error
    return Calls(row, column, reference, threads)


def _write(path: Path, columns: Mapping[str, Any], notes: Mapping[str, str] | None = None) -> Path:
    table = pyarrow.table(dict(columns)).replace_schema_metadata(dict(notes or {}))
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(table, sink, compression="zstd")
    atomic_write(path, sink.getvalue().to_pybytes())
    return path


def _read(path: Path) -> pyarrow.Table:
    try:
        return parquet.read_table(path)
    except OSError as error:  # missing, or not Parquet: pyarrow's ArrowInvalid is a ValueError
        raise UserError(f"cannot read {path}: {error}; `python -m eval.run` writes it") from error
    except pyarrow.ArrowException as error:
        raise UserError(f"{path} is damaged: {error}; judge again with eval.run") from error
