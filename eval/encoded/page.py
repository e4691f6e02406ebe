"""What encoding does to a checkpoint's decisions, written down: as JSON, as Markdown and on the screen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.text import Text

from core.folders import atomic_write
from eval.cells import Cells, escape, markdown_table, print_table, with_interval
from eval.comparing.tables import p_value
from eval.encoded.forms import PLAIN
from eval.printable import printable
from eval.schema.encodings import Encodings, Flagged, Reading

HEAD = ("Form", "Raw text", "Decoded beside it", "Decoded instead")
CHANGE_HEAD = ("Benign texts, form", "Read", "Newly flagged", "No longer", "p")


def share_rows(of: Mapping[str, Mapping[Reading, Flagged]]) -> Cells:
    """A row a form: the share that is flagged in each reading, with its interval."""
    return [
        (form, *(with_interval(flagged.share, flagged.interval) for flagged in readings.values()))
        for form, readings in of.items()
    ]


def change_rows(of: Mapping[str, Mapping[Reading, Flagged]]) -> Cells:
    """A row a form and a reading: what is flagged there and not as it stands, and the other way round."""
    return [
        (form, way, f"{flagged.newly} of {flagged.texts}", str(flagged.no_longer), p_value(flagged.p_value))
        for form, readings in of.items()
        if form != PLAIN
        for way, flagged in readings.items()
    ]


def title(of: Encodings) -> str:
    return f"What encoding hides from {of.model.name}, on {of.split}"


def how(of: Encodings) -> str:
    attacks, benign = (part[PLAIN]["raw"].texts for part in (of.attacks, of.benign))
    layer = f"its own first layer ({of.first_layer}) before the model" if of.first_layer else "no first layer"
    return (
        f"Share that is flagged, with its 95 % interval (Wilson): {attacks:,} attacks and {benign:,} benign texts in"
        f" which nothing is encoded, drawn with seed {of.seed} and cut to {of.characters:,} characters, as they stand"
        f" and in seven forms of our own writing; {layer}. Raw text: what is made of the form itself."
        " Beside: its decoded view is scored, too, and the higher score counts"
        f" (a view is an attack from {of.decoded_limit:.3g}). Instead: the view alone is scored. p: McNemar, exact."
    )


def to_markdown(of: Encodings) -> str:
    """The page in Markdown."""
    blocks = [f"# {escape(title(of))}"]
    blocks += [f"> **{of.synthetic}**"] if of.synthetic else []
    blocks += [escape(how(of)), "## Attacks: the more the better", markdown_table(HEAD, share_rows(of.attacks))]
    blocks += ["## Benign texts: the fewer the better", markdown_table(HEAD, share_rows(of.benign))]
    blocks.append(markdown_table(CHANGE_HEAD, change_rows(of.benign)))
    machine, model = of.hardware, of.model
    blocks.append(escape(f"{model.name} ({model.precision}), digest {model.digest[:12]}, {model.folder}"))
    blocks.append(escape(f"{of.timestamp}, {machine.cpu}, {machine.cores} cores, {machine.os}"))
    return "\n\n".join(blocks) + "\n"


def write(of: Encodings, folder: Path) -> tuple[Path, Path]:
    """Writes encodings.json and encodings.md, each whole or not at all; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    as_json, as_markdown = folder / "encodings.json", folder / "encodings.md"
    atomic_write(as_markdown, to_markdown(of))
    atomic_write(as_json, of.model_dump_json(indent=2) + "\n")
    return as_json, as_markdown


def print_encodings(of: Encodings, console: Console | None = None) -> None:
    """The two tables on the screen."""
    console = console or Console()
    console.print(Text(printable(title(of)), style="bold"))
    above = [of.synthetic] if of.synthetic else []
    print_table(("Attacks, form", *HEAD[1:]), share_rows(of.attacks), above, console)
    print_table(("Benign texts, form", *HEAD[1:]), share_rows(of.benign), (), console)
    console.print(Text(printable(how(of))))
