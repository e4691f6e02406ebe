"""The rows of the dashboard: one a checkpoint and set of texts, each figure with its verdict."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from eval.pages.runs import Run
from eval.pages.verdicts import MARKS, title
from eval.pages.words import amount, share
from eval.schema import Interval, Report, Word

COLUMNS = {
    "accuracy": "F1",
    "recall": "Recall",
    "fpr": "FPR",
    "latency_p50": "P50 ms",
    "latency": "P95 ms",
    "latency_p99": "P99 ms",
    "size": "MB",
    "memory": "RAM MB",
}
"""Target -> head of its column."""
HIGHER_IS_BETTER = ("accuracy", "recall")
WITH_INTERVAL = ("accuracy", "recall", "fpr", "latency")
"""The others' intervals stand in the reports."""


@dataclass(frozen=True)
class Cell:
    """One figure of one row."""

    key: str
    """What to sort by; empty: not measured."""
    value: str
    interval: str
    word: Word | None
    """None: there is no target for it."""
    mark: str
    hint: str


@dataclass(frozen=True)
class Row:
    """One checkpoint on one set of texts."""

    number: int
    name: str
    link: str
    folder: str
    precision: str | None
    split: str
    fingerprint: str
    group: int
    """Which set of texts, from 0."""
    rows: int
    word: Word
    mark: str
    cells: list[Cell]
    timestamp: str
    commit: str
    dirty: bool
    synthetic: bool
    noisy: bool


def rows(runs: tuple[Run, ...], searched: Path, page: Path) -> list[Row]:
    """The table; links lead from the page's own folder to each report."""
    groups = list(dict.fromkeys(run.texts for run in runs))
    return [_row(number, run, groups.index(run.texts), searched, page) for number, run in enumerate(runs, 1)]


def _row(number: int, run: Run, group: int, searched: Path, page: Path) -> Row:
    report, git = run.report, run.report.provenance.get("git") or {}
    verdict: Word = report.verdict
    return Row(
        number=number,
        name=run.name,
        link=link(searched / run.folder, page),
        folder=run.folder.as_posix(),
        precision=report.precision,
        split=report.split,
        fingerprint=run.texts[1][:8],
        group=group,
        rows=report.rows,
        word=verdict,
        mark=MARKS[verdict],
        cells=[_cell(name, report) for name in COLUMNS],
        timestamp=report.timestamp,
        commit=str(git.get("commit") or "")[:8],
        dirty=bool(git.get("dirty")),
        synthetic=report.synthetic is not None,
        noisy=report.latency is not None and not report.latency.noise.trusted,
    )


def link(folder: Path, page: Path) -> str:
    """The way from the page to a report's page, else to report.json; percent-encoded, so it never names a scheme."""
    there = folder / "report.html"
    there = there if there.exists() else folder / "report.json"
    return quote(Path(os.path.relpath(there, page.parent)).as_posix())


def _cell(name: str, report: Report) -> Cell:
    value, interval = figure(name, report)
    write = share if name in ("accuracy", "recall", "fpr") else amount
    judgement = report.judgements.get(name)
    word = judgement.verdict if judgement else None
    return Cell(
        key="" if value is None else repr(value),
        value=write(value),
        interval=f"{write(interval[0])}–{write(interval[1])}" if interval and name in WITH_INTERVAL else "",
        word=word,
        mark=MARKS[word] if word else "",
        hint=f"{title(name)}: {word}. {judgement.sentence}" if judgement else "no target",
    )


def figure(name: str, report: Report) -> tuple[float | None, Interval | None]:
    """The figure that a target is about, and its interval."""
    right, timed, used = report.accuracy, report.latency, report.resources
    match name:
        case "accuracy":
            return right.binary_f1, right.intervals.binary_f1
        case "recall":
            return right.binary_recall, right.intervals.binary_recall
        case "fpr":
            return right.false_positive_rate, right.intervals.false_positive_rate
        case "size":
            return used.model_size_mb, None
        case "memory":
            return used.memory_usage_mb, None
    percentile = {"latency": "p95_ms", "latency_p50": "p50_ms", "latency_p99": "p99_ms"}[name]
    return (getattr(timed, percentile), getattr(timed.intervals, percentile)) if timed else (None, None)
