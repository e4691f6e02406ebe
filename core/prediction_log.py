"""The log of served predictions: a writer that goes between a pipeline and its caller."""

from __future__ import annotations

import hmac
import logging
import os
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from core.errors import UserError
from core.manifest import Manifest
from core.rows import text_hash, well_formed
from core.served import Label, Served

if TYPE_CHECKING:
    from core.decision import Decision


class Guard(Protocol):
    """What is logged: `core.pipeline.Pipeline` is one."""

    @property
    def model_id(self) -> str: ...
    @property
    def described(self) -> Mapping[str, Any]: ...
    def __call__(self, text: str) -> Decision: ...


class PredictionLog:
    """A guard that writes a line for every text it is asked about; processes and threads may share the file.

    with PredictionLog(Path("served.jsonl"), open_pipeline(folder)) as guard:
        decision = guard(text)

    No text is kept unless `keep_texts`. The hash of a short text can be found by guessing: with a secret `key` it
    cannot. A line that cannot be written (a full disk) is counted in `lost` and never stops the guard.
    """

    def __init__(self, path: Path, guard: Guard, *, key: bytes = b"", keep_texts: bool = False) -> None:
        self.path, self.lost = path, 0
        self._guard, self._key, self._keep_texts = guard, key, keep_texts
        files = guard.described.get("files")
        self._digest = Manifest(path, guard.described).digest if files else None
        try:
            # Appending is one step for the kernel: lines of several processes do not mix.
            self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o640)
        except OSError as error:
            raise UserError(f"cannot write the log {path}: {error.strerror}; choose another file") from error
        size = os.fstat(self._file).st_size
        self._torn = size > 0 and os.pread(self._file, 1, size - 1) != b"\n"

    def __call__(self, text: str, label: Label | None = None, call_id: str | None = None) -> Decision:
        """The guard's decision, logged; so is an error of the guard, which goes on to the caller.

        call_id: the caller's own name of the request, by which a label may come later (default: a random one).
        """
        call = (call_id or uuid.uuid4().hex, text, label)
        began, started = datetime.now(UTC), time.perf_counter_ns()
        try:
            decided = self._guard(text)
        except Exception as error:
            self._append(*call, began, _milliseconds(started), error=type(error).__name__)
            raise
        self._append(*call, began, _milliseconds(started), decided)
        return decided

    def _append(
        self,
        call_id: str,
        text: str,
        label: Label | None,
        began: datetime,
        latency_ms: float,
        decided: Decision | None = None,
        error: str | None = None,
    ) -> None:
        text = well_formed(text)
        line = Served(
            id=call_id,
            time=began,
            model=self._guard.model_id,
            digest=self._digest,
            latency_ms=latency_ms,
            text_hash=hmac.new(self._key, text.encode(), "sha256").hexdigest() if self._key else text_hash(text),
            characters=len(text),
            attack_probability=decided.scores["attack_probability"] if decided else None,
            decision=decided.recommended_action[0] if decided else None,  # type: ignore[arg-type]
            family=decided.family if decided else None,
            sub_family=decided.sub_family if decided else None,
            error=error,
            label=label,
            text=text if self._keep_texts else None,
        )
        data = ("\n" * self._torn + line.model_dump_json(exclude_none=True) + "\n").encode()
        try:
            self._torn = os.write(self._file, data) != len(data)  # else the next line starts on one of its own
        except OSError as refused:
            self.lost += 1
            if self.lost == 1:
                logging.getLogger(__name__).error("%s takes no more lines: %s", self.path, refused.strerror)
        else:
            self.lost += self._torn

    def close(self) -> None:
        """Nothing is logged after it."""
        os.close(self._file)

    def __enter__(self) -> PredictionLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _milliseconds(started: int) -> float:
    return (time.perf_counter_ns() - started) / 1e6
