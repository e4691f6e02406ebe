"""Every report below a folder: the newest of each checkpoint, older ones, step checkpoints, broken ones."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from core.errors import UserError
from core.manifest import Manifest
from eval.report import read
from eval.schema import Report
from eval.schema.options import Table

TRAINING = "training"
"""Folder of a run's step checkpoints, `training/<stage>/checkpoint-<step>`."""


@dataclass(frozen=True)
class Run:
    """One report where it was found."""

    report: Report
    folder: Path
    """Relative to the folder that was searched."""
    name: str
    """What its checkpoint is called: the same in every report on it, and in none on another."""

    @property
    def texts(self) -> tuple[str, str]:
        """Split and data fingerprint: reports compare only where both are the same."""
        fingerprint = (self.report.provenance.get("fingerprints") or {}).get(self.report.split)
        return self.report.split, str(fingerprint or f"{self.report.rows} rows, no fingerprint")


@dataclass(frozen=True)
class Step:
    """The validation of one step checkpoint."""

    stage: str
    step: int
    report: Report


@dataclass(frozen=True)
class Broken:
    """A report that cannot be read, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Runs:
    """All of them, in a fixed order."""

    newest: tuple[Run, ...]
    """One a checkpoint and set of texts: validation, test, others, larger sets first; in each the highest F1 first."""
    every: tuple[Run, ...]
    """The same and older ones, by time."""
    steps: tuple[Step, ...]
    broken: tuple[Broken, ...]


def find(folder: Path) -> Runs:
    """Reads every report.json below the folder. UserError: no such folder, or not one report in it."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: name the one that `python -m eval.run` writes its reports below")
    found, steps, broken = [], [], []
    for path in sorted(folder.rglob("report.json")):
        where = path.parent.relative_to(folder)
        if any(part.startswith(".") for part in where.parts):
            continue  # half-written checkpoints
        try:
            report = read(path)
        except UserError as error:
            broken.append(Broken(where / path.name, str(error)))
            continue
        if TRAINING in where.parts:
            steps += _step(where, report)
        else:
            found.append((report, where))
    if not (found or steps or broken):
        raise UserError(f"there is no report.json below {folder}: `python -m eval.run --config FILE` writes one")
    called = names({checkpoint(report) for report, _ in found})
    runs = [Run(report, where, called[checkpoint(report)]) for report, where in found]
    every = sorted(runs, key=lambda run: (run.report.timestamp, str(run.folder)))
    newest = {(run.name, run.texts): run for run in every}
    return Runs(tuple(sorted(newest.values(), key=_order)), tuple(every), tuple(sorted_steps(steps)), tuple(broken))


def of_options(table: Table) -> Runs:
    """The reports that a table of options rests on, under the options' names. UserError: one cannot be read."""
    found = tuple(Run(read(Path(row.report)), Path(row.report).resolve(), row.name) for row in table.rows)
    return Runs(found, found, (), ())


def checkpoint(report: Report) -> tuple[str, str]:
    """What the report is on: the model's name, which others may have too, and the folder where it lay when judged.

    Where the report knows no folder, the hash of the model's bytes stands for it; where it knows neither, the name.
    """
    known, name = report.provenance, report.model_id
    if place := (known.get("config") or {}).get("checkpoint"):
        return name, PurePosixPath(place).as_posix()
    files = known.get("files")
    return name, f"{Manifest(Path(), {'files': files}).digest[:8]}/{name}" if files else name


def names(checkpoints: set[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """What each is called: its name, or, where others have it too, as much of the folder as tells them apart."""
    found: dict[tuple[str, str], str] = {}
    for name in {name for name, _ in checkpoints}:
        ends = {one: name for one in checkpoints if one[0] == name}
        length = 1
        while len(set(ends.values())) < len(ends):
            length += 1  # the parent's name at least
            ends = {one: "/".join(PurePosixPath(one[1]).parts[-length:]) for one in ends}
        found |= ends
    return found


def sorted_steps(steps: Iterable[Step]) -> list[Step]:
    """By stage, then by step."""
    return sorted(steps, key=lambda step: (step.stage, step.step))


def _step(where: Path, report: Report) -> list[Step]:
    """Nothing where the folder does not end in its step: then it has no place on the axis."""
    number = re.fullmatch(r"checkpoint-(\d+)", where.name)
    return [Step(where.parent.as_posix(), int(number[1]), report)] if number else []


def _order(run: Run) -> tuple[int, str, int, str, float, str]:
    first = ("validation", "test")
    place = first.index(run.report.split) if run.report.split in first else len(first)
    f1 = run.report.accuracy.binary_f1
    split, fingerprint = run.texts
    return place, split, -run.report.rows, fingerprint, -f1 if f1 is not None else 1.0, run.name
