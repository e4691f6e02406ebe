"""Lines of a prediction log for tests, made without a model."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from core.rows import text_hash
from core.served import Served
from eval.live.read import Batch

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


def make_line(
    number: int,
    score: float | None = 0.1,
    label: int | None = None,
    *,
    milliseconds: float = 2.0,
    characters: int = 40,
    model: str = "student",
    every: float = 1.0,
) -> Served:
    """Call `number`, that many times `every` seconds after the start; a score of None is a failed call."""
    decision = None if score is None else "BLOCK" if score >= 0.8 else "WARN" if score >= 0.5 else "ALLOW"
    return Served.model_validate(
        {
            "id": f"call-{number}", "time": START + timedelta(seconds=number * every), "model": model,
            "latency_ms": milliseconds, "text_hash": text_hash(str(number)), "characters": characters,
            "attack_probability": score, "decision": decision, "error": "UserError" if score is None else None,
            "label": label,
        }
    )  # fmt: skip


def write_log(path: Path, lines: list[Served]) -> Path:
    """The file."""
    path.write_text("".join(line.model_dump_json(exclude_none=True) + "\n" for line in lines))
    return path


def make_log(path: Path, counts: dict[tuple[float | None, int | None], int], **more: str) -> Path:
    """So many lines of each score and label."""
    kinds = [kind for kind, times in counts.items() for _ in range(times)]
    return write_log(path, [make_line(number, *kind, **more) for number, kind in enumerate(kinds)])  # type: ignore[arg-type]


def make_batch(lines: int, generator: np.random.Generator, first: float = 0.0, slower: float = 1.0) -> Batch:
    """A second a line from `first` on: one in ten flagged, one in a thousand failed, labels on one in fifty."""
    flagged = generator.random(lines) < 0.1
    failed = generator.random(lines) < 0.001
    probability = np.where(flagged, generator.uniform(0.5, 1, lines), generator.uniform(0, 0.5, lines))
    return Batch(
        seconds=START.timestamp() + first + np.arange(lines),
        latency_ms=slower * np.exp(generator.normal(0.5, 0.4, lines)),
        characters=generator.integers(10, 3000, lines),
        probability=np.where(failed, np.nan, probability),
        failed=failed,
        flagged=flagged & ~failed,
        label=np.where(generator.random(lines) < 0.02, 1 + (generator.random(lines) < 0.08), 0),
    )
