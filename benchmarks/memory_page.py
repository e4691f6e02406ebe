"""What a training's memory came to: as a value, and as a table on the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from benchmarks.page import machine, show
from benchmarks.watching import Watched
from eval.cells import Cells
from eval.schema import Value, Word
from eval.schema.report import Stamp

HEAD = ("memory", "GB", "target", "verdict")


class Footprint(Value):
    """What the benchmark of memory writes."""

    benchmark: str = "memory"
    did: str
    synthetic: Stamp | None
    held: Watched
    target_gb: float
    """All processes together are to stay below it."""
    provenance: dict[str, Any]

    @property
    def verdict(self) -> Word:
        return "met" if self.held.together_gb < self.target_gb else "missed"


def rows(footprint: Footprint) -> Cells:
    """Cells as in `HEAD`."""
    held = footprint.held
    return [
        ("largest process", f"{held.largest_process_gb:.2f}", "", ""),
        ("all processes together", f"{held.together_gb:.2f}", f"< {footprint.target_gb:g}", footprint.verdict),
    ]


def show_footprint(footprint: Footprint, console: Console | None = None) -> None:
    """The footprint on the terminal."""
    how = f"{footprint.did} Peaks of resident memory, 10^9 bytes, in {footprint.held.seconds:.0f} s."
    show(HEAD, rows(footprint), footprint.synthetic, [how, *machine(footprint.provenance)], console)
