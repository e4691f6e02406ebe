"""A race written down: as JSON, as Markdown, and as a table on the screen."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.text import Text

from core.folders import atomic_write
from eval.cells import escape, markdown_table, print_table
from eval.printable import printable
from eval.schema.race import Peer, Race, Ratio

COLUMNS = ("model", "P50 ms", "P95 ms", "P99 ms", "P50 ratio", "P95 ratio", "ratio text by text")


def write(race: Race, folder: Path) -> tuple[Path, Path]:
    """Writes race.json and race.md, each whole or not at all; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    as_json, as_markdown = folder / "race.json", folder / "race.md"
    atomic_write(as_json, race.model_dump_json(indent=2) + "\n")
    atomic_write(as_markdown, markdown(race))
    return as_json, as_markdown


def table(race: Race) -> list[tuple[str, ...]]:
    """A line for each model, cells as in `COLUMNS`; the first model is what the ratios are against."""
    lines = []
    for model in (race.first, *race.peers):
        times = (model.latency.p50_ms, model.latency.p95_ms, model.latency.p99_ms)
        own = (f"{model.name} ({model.precision})", *(f"{milliseconds:.2f}" for milliseconds in times))
        if isinstance(model, Peer):
            ratios = (model.p50_ratio, model.p95_ratio, model.geometric_mean_ratio)
            lines.append((*own, *map(_with_interval, ratios)))
        else:
            lines.append((*own, "1", "1", "1"))
    return lines


def _with_interval(ratio: Ratio) -> str:
    return f"{ratio.value:.3f} [{ratio.interval[0]:.3f}, {ratio.interval[1]:.3f}]"


def remarks(race: Race) -> list[str]:
    """What is to be said beside the table, the verdicts first."""
    return [*(peer.sentence for peer in race.peers), race.noise.sentence, *race.notes]


def how(race: Race) -> str:
    """What was done, and how to read the table."""
    return (
        f"{race.calls:,} calls of each model over {race.texts:,} texts of {race.split}, interleaved: each text went to"
        " every model in turn, in an order drawn anew, batch 1, one thread. Ratios are a peer's time over the first"
        " model's, with 95 % intervals from a paired bootstrap over the texts."
    )


def stamp(race: Race) -> list[str]:
    """The warning of a synthetic corpus, where it is one."""
    return [race.synthetic] if race.synthetic else []


def markdown(race: Race) -> str:
    """The race as a page."""
    title = f"# {escape(race.first.name)} against {', '.join(escape(peer.name) for peer in race.peers)}"
    machine = f"{race.timestamp}, {race.hardware.cpu}, {race.hardware.cores} cores, {race.hardware.os}"
    listed = "\n".join(f"- {escape(remark)}" for remark in remarks(race))
    parts = [title, *stamp(race), how(race), markdown_table(COLUMNS, table(race)).strip("\n"), listed, machine]
    return "\n\n".join(parts) + "\n"


def print_race(race: Race, console: Console | None = None) -> None:
    """The same on the screen."""
    console = console or Console()
    print_table(COLUMNS, table(race), stamp(race), console)
    for line in (how(race), *remarks(race)):
        console.print(Text(printable(line)))
