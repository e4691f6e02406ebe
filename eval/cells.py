"""Figures in sensible digits, and tables of them as Markdown or on the terminal; hostile names stay in their cell."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from eval.printable import printable
from eval.schema import Interval

Cells = Sequence[tuple[str, ...]]
NOT_MEASURED, NONE = "not measured", "–"
STYLES = {"met": "green", "missed": "bold red", "undecided": "yellow", NOT_MEASURED: "dim"}


def share(value: float | None, missing: str = NOT_MEASURED) -> str:
    """A figure between 0 and 1: four decimals."""
    return missing if value is None else f"{value:.4f}"


def amount(value: float | None) -> str:
    """Milliseconds, megabytes, percent: three digits, more only before the point."""
    if value is None:
        return NOT_MEASURED
    decimals = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{decimals}f}"


def interval(bounds: Interval | None, form: Callable[[float], str] = share) -> str:
    """`low to high`, or a dash."""
    return NONE if bounds is None else f"{form(bounds[0])} to {form(bounds[1])}"


def with_interval(value: float | None, bounds: Interval | None) -> str:
    """A share with its interval, three decimals."""
    if value is None:
        return NONE
    return f"{value:.3f}" if bounds is None else f"{value:.3f} ({bounds[0]:.3f}–{bounds[1]:.3f})"


def markdown_table(head: Sequence[str], rows: Cells) -> str:
    """A Markdown table; pipes, line breaks and angle brackets in cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(escape(cell) for cell in line) + " |" for line in lines)


def escape(cell: str) -> str:
    """Text that stays inside one Markdown cell and opens no tag, link or code."""
    safe = re.sub(r"([\\|`]|(?<=\])\()", r"\\\1", printable(" ".join(cell.split())))
    return safe.replace("<", "&lt;")


def print_table(head: Sequence[str], rows: Cells, above: Sequence[str], console: Console | None = None) -> None:
    """A table on the terminal; no markup is read out of names."""
    console = console or Console()
    for line in above:
        console.print(Text(line, style="bold yellow"))
    table = Table(pad_edge=False, collapse_padding=True)  # every character counts where five columns share 80
    for name in head:
        table.add_column(Text(name), overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell), style=STYLES.get(cell, "")) for cell in row))
    console.print(table)
