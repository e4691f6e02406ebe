"""The pictures of the dashboard, one section a set of texts: reports compare only on the same texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.schema import Limits
from eval.pages.board import figure
from eval.pages.figure import Picture
from eval.pages.pareto import Point, pareto
from eval.pages.runs import Run, Runs
from eval.pages.trends import over_time


@dataclass(frozen=True)
class Texts:
    """One set of texts and what was judged on it."""

    split: str
    fingerprint: str
    rows: int
    runs: int
    pictures: list[Picture]
    """F1 against latency and size; none with fewer than two checkpoints."""
    history: Picture | None


def sets(runs: Runs, numbers: Mapping[str, int]) -> list[Texts]:
    """In the order of the table; `numbers` are its rows by folder."""
    found = []
    for texts in dict.fromkeys(run.texts for run in runs.newest):
        here = [run for run in runs.newest if run.texts == texts]
        history = over_time(run for run in runs.every if run.texts == texts)
        found.append(Texts(*texts, here[0].report.rows, len(here), _pictures(here, numbers), history))
    return found


def _pictures(here: Sequence[Run], numbers: Mapping[str, int]) -> list[Picture]:
    # The newest report says what is asked today.
    limits: Limits = max(here, key=lambda run: run.report.timestamp).report.targets
    times = [point for run in here if (point := _point(run, "latency", numbers))]
    sizes = [point for run in here if (point := _point(run, "size", numbers))]
    made = (
        pareto(
            times,
            "F1 against latency",
            "P95 of a call, ms, logarithmic",
            limits.p95_ms,
            limits.binary_f1,
            _doubts(here),
        ),
        pareto(sizes, "F1 against size", "megabytes shipped, logarithmic", limits.model_size_mb, limits.binary_f1),
    )
    return [picture for picture in made if picture]


def _doubts(here: Sequence[Run]) -> str:
    """Why times of these runs may not compare."""
    timed = [run.report for run in here if run.report.latency]
    machines = {(report.hardware.cpu, report.hardware.cores, report.hardware.cpu_flags) for report in timed}
    unlike = f" Timed on {len(machines)} unlike machines: these times do not compare." if len(machines) > 1 else ""
    return unlike + (" A hollow dot: its machine was too noisy." if not all(map(_trusted, here)) else "")


def _trusted(run: Run) -> bool:
    return run.report.latency is None or run.report.latency.noise.trusted


def _point(run: Run, cost: str, numbers: Mapping[str, int]) -> Point | None:
    (f1, interval), (value, around) = figure("accuracy", run.report), figure(cost, run.report)
    if f1 is None or value is None or value <= 0:
        return None
    trusted = cost != "latency" or _trusted(run)
    return Point(numbers[run.folder.as_posix()], run.name, f1, interval, value, around, trusted)
