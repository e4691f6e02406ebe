"""A benchmark's outcome: as a value, as JSON in a folder, and as a table with what a reader must know beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from benchmarks.rounds import Ratio, Side
from core.config import resolved
from core.folders import atomic_write
from core.provenance import provenance
from core.schema import Experiment
from eval.cells import Cells, print_table
from eval.printable import printable
from eval.schema import SYNTHETIC, Noise, Value
from eval.schema.report import Stamp

HEAD = ("side", "tokens/s", "lowest to highest", "times as fast", "95 % interval", "target", "verdict")
BESIDE = ("sentence-transformers", "accelerate", "datasets", "tokenizers")  # versions that decide the other side


class Race(Value):
    """Sides timed in turn: what a benchmark of speed writes."""

    benchmark: str
    did: str
    """What each side worked off."""
    synthetic: Stamp | None
    sides: tuple[Side, ...]
    """Ours first."""
    ratios: tuple[Ratio, ...]
    """Ours against each of the others."""
    noise: Noise
    notes: tuple[str, ...] = ()
    provenance: dict[str, Any]

    @property
    def met(self) -> bool:
        """Whether every target is."""
        return all(ratio.verdict in (None, "met") for ratio in self.ratios)


def made_of(experiment: Experiment, fingerprints: Mapping[str, str]) -> dict[str, Any]:
    """The provenance of a benchmark: that of a report, and the versions of what it is compared with."""
    known = provenance(resolved(experiment), experiment.seed, fingerprints)
    known["versions"] |= {name: metadata.version(name) for name in BESIDE}
    return known


def stamp(experiment: Experiment) -> Stamp | None:
    return SYNTHETIC if experiment.data.synthetic else None


def write(outcome: Value, name: str, folder: Path) -> Path:
    """Writes `name`.json, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    atomic_write(path, outcome.model_dump_json(indent=2) + "\n")
    return path


def rows(race: Race) -> Cells:
    """A line for each side, cells as in `HEAD`."""
    lines, ratios = [], {ratio.against: ratio for ratio in race.ratios}
    for side in race.sides:
        own = (side.name, f"{np.median(side.rates):,.0f}", f"{min(side.rates):,.0f} to {max(side.rates):,.0f}")
        if found := ratios.get(side.name):
            low, high = found.interval
            wanted = "" if found.target is None else f"≥ {found.target:g}"
            lines.append((*own, f"{found.value:.2f}", f"{low:.2f} to {high:.2f}", wanted, found.verdict or ""))
        else:
            lines.append((*own, "", "", "", ""))
    return lines


def machine(known: dict[str, Any]) -> list[str]:
    """The machine, the versions and the commit, a line each."""
    hardware, git = known["hardware"], known["git"]
    dirty = " with uncommitted changes" if git["dirty"] else ""
    versions = ", ".join(f"{name} {version}" for name, version in known["versions"].items() if version)
    return [
        f"{hardware['cpu']}, {hardware['cores']} cores, {hardware['memory_gb']:g} GB, {hardware['os']};"
        f" {' '.join(hardware['cpu_flags'])}",
        versions,
        f"commit {git['commit'] or 'not a checkout'}{dirty}, {known['timestamp']}",
    ]


def show(head: Sequence[str], cells: Cells, above: str | None, below: Sequence[str], console: Console | None) -> None:
    """A table on the terminal, sentences below it."""
    console = console or Console()
    print_table(head, cells, [above] if above else [], console)
    for line in below:
        console.print(Text(printable(line)))


def show_race(race: Race, console: Console | None = None) -> None:
    """The race on the terminal."""
    rounds = len(race.sides[0].timings)
    how = (
        f"{race.did} {rounds} rounds, the sides in turn; tokens are counted without padding. `times as fast` is ours"
        " against that side: geometric mean over the rounds, Student's t interval."
    )
    show(HEAD, rows(race), race.synthetic, [how, *race.notes, race.noise.sentence, *machine(race.provenance)], console)
