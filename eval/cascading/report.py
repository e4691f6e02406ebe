"""A cascade written down: as JSON, as Markdown, as a page, and as a table on the screen."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.text import Text

from core.folders import atomic_write
from eval.cascading import words
from eval.cells import escape, markdown_table, print_table
from eval.printable import printable
from eval.schema.cascade import Cascade


def write(cascade: Cascade, folder: Path) -> tuple[Path, ...]:
    """Writes cascade.json, cascade.md and cascade.html, each whole or not at all; returns their paths."""
    from eval.cascading.page import to_html  # matplotlib and jinja2 only where a page is made

    folder.mkdir(parents=True, exist_ok=True)
    content = {"json": cascade.model_dump_json(indent=2) + "\n", "md": to_markdown(cascade), "html": to_html(cascade)}
    paths = {kind: folder / f"cascade.{kind}" for kind in content}
    for kind, path in paths.items():
        atomic_write(path, content[kind])
    return tuple(paths.values())


def to_markdown(cascade: Cascade) -> str:
    """The page in Markdown."""
    blocks = [f"# {escape(words.title(cascade))}"]
    blocks += [f"> **{cascade.synthetic}**"] if cascade.synthetic else []
    blocks += [escape(words.how(cascade)), markdown_table(words.HEAD, words.rows(cascade))]
    blocks += ["## What the layer decides", markdown_table(words.LAYER_HEAD, words.layer_rows(cascade))]
    blocks.append("\n".join(f"- {escape(remark)}" for remark in words.remarks(cascade)))
    machine = cascade.hardware
    parts = [part for part in (cascade.model, cascade.first) if part]
    blocks.append(
        "\n".join(f"- {escape(f'{of.name} ({of.precision}), digest {of.digest[:12]}, {of.folder}')}" for of in parts)
    )
    blocks.append(escape(f"{cascade.timestamp}, {machine.cpu}, {machine.cores} cores, {machine.os}"))
    return "\n\n".join(blocks) + "\n"


def print_cascade(cascade: Cascade, console: Console | None = None) -> None:
    """The tables and the remarks on the screen."""
    console = console or Console()
    console.print(Text(printable(words.title(cascade)), style="bold"))
    above = [cascade.synthetic] if cascade.synthetic else []
    head, *rows = words.on_screen([words.HEAD, *words.rows(cascade)], words.ON_SCREEN)
    print_table(head, rows, above, console)
    head, *rows = words.on_screen([words.LAYER_HEAD, *words.layer_rows(cascade)], words.LAYER_ON_SCREEN)
    print_table(head, rows, (), console)
    for line in (words.how(cascade), *words.remarks(cascade)):
        console.print(Text(printable(line)))
