"""Lines of a prediction log as batches of columns, read once from beginning to end, whatever its size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from core.errors import UserError
from core.served import Served

BATCH = 8192  # lines
MOST_UNREADABLE = 0.01
UNKNOWN, BENIGN, ATTACK = 0, 1, 2  # what a label becomes in a batch
DIGESTS = 8  # folders named at most


@dataclass(frozen=True, eq=False)
class Batch:
    """Some lines in columns, (n,) each."""

    seconds: NDArray[np.float64]
    """Since 1970."""
    latency_ms: NDArray[np.float64]
    characters: NDArray[np.int64]
    probability: NDArray[np.float64]
    """NaN where the call failed."""
    failed: NDArray[np.bool_]
    flagged: NDArray[np.bool_]
    label: NDArray[np.int64]
    """UNKNOWN, BENIGN or ATTACK."""


@dataclass(frozen=True)
class Wanted:
    """Which lines of a log count."""

    model: str | None = None
    """None: there must be one model in the log."""
    since: datetime | None = None
    until: datetime | None = None
    """Lines at or after `since` and before `until`."""
    labels: Mapping[str, int] = field(default_factory=dict)
    """By the id of the call; they win over the log's own."""


@dataclass
class LogReader:
    """One log; what it has seen so far is in its fields, which do not grow with the log."""

    path: Path
    wanted: Wanted = field(default_factory=Wanted)
    read: int = 0
    unreadable: int = 0
    first_unreadable: str = ""
    labels_used: int = 0
    model: str | None = None
    digests: dict[str, None] = field(default_factory=dict)

    def batches(self) -> Iterator[Batch]:
        """The wanted lines, in order.

        UserError: no such file, two models and none chosen, more than 1 % unreadable lines, not one wanted line.
        """
        self.model = self.wanted.model
        try:
            with self.path.open("rb") as stream:
                pending: list[Served] = []
                for line in self._lines(stream):
                    pending.append(line)
                    if len(pending) == BATCH:
                        yield self._batch(pending)
                        pending = []
                if pending:
                    yield self._batch(pending)
        except OSError as error:
            raise UserError(f"cannot read the log {self.path}: {error.strerror}") from error
        if self.unreadable > MOST_UNREADABLE * self.read:
            raise UserError(
                f"{self.unreadable:,} of {self.read:,} lines of {self.path} cannot be read, the first is"
                f" {self.first_unreadable}: core.served.Served says what a line holds"
            )

    def _lines(self, stream: Iterable[bytes]) -> Iterator[Served]:
        wanted = self.wanted
        for raw in stream:
            if not raw.strip():
                continue
            self.read += 1
            try:
                line = Served.model_validate_json(raw)
            except ValidationError as error:
                self.unreadable += 1  # a line torn by a crash, or still being written
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                self.first_unreadable = self.first_unreadable or f"number {self.read:,} ({where}: {first['msg']})"
                continue
            if (wanted.since and line.time < wanted.since) or (wanted.until and line.time >= wanted.until):
                continue
            if wanted.model is None and self.model not in (None, line.model):
                raise UserError(
                    f"{self.path} holds predictions of {self.model!r} and of {line.model!r}: choose one with --model"
                )
            self.model = self.model or line.model
            if line.model == self.model:
                yield line

    def _batch(self, lines: list[Served]) -> Batch:
        labels = self.wanted.labels
        given = [labels.get(line.id) if labels else None for line in lines]
        self.labels_used += sum(label is not None for label in given)
        for digest in {line.digest for line in lines if line.digest}:
            if len(self.digests) < DIGESTS:
                self.digests[digest] = None
        truth = [line.label if label is None else label for line, label in zip(lines, given, strict=True)]
        scores = [np.nan if line.attack_probability is None else line.attack_probability for line in lines]
        return Batch(
            seconds=np.array([line.time.timestamp() for line in lines]),
            latency_ms=np.array([line.latency_ms for line in lines]),
            characters=np.array([line.characters for line in lines], dtype=np.int64),
            probability=np.array(scores),
            failed=np.array([line.error is not None for line in lines]),
            flagged=np.array([line.decision in ("WARN", "BLOCK") for line in lines]),
            label=np.array([UNKNOWN if label is None else BENIGN + label for label in truth], dtype=np.int64),
        )
