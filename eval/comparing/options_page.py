"""The table of options for people: as Markdown, and on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from eval.cells import Cells, markdown_table, print_table
from eval.comparing import options_cells as cells_of
from eval.printable import printable
from eval.schema.options import Table


def markdown(table: Table) -> str:
    """The page."""
    blocks = ["# The options, judged on the same texts"]
    if table.synthetic:
        blocks.append(f"> **{table.synthetic}**")
    blocks += [how(table), markdown_table(cells_of.HEAD, cells_of.option_rows(table))]
    sections: Sequence[tuple[str, Sequence[str], Cells]] = (
        ("What was expected of them", cells_of.EXPECTED_HEAD, cells_of.expected_rows(table)),
        ("Where the rows come from", cells_of.ORIGIN_HEAD, cells_of.origin_rows(table)),
        ("Not in the table", cells_of.MISSING_HEAD, cells_of.missing_rows(table)),
    )
    for title, head, cells in sections:
        if cells:
            blocks += [f"## {title}", markdown_table(head, cells)]
    blocks.append("\n".join(f"- {printable(note)}" for note in table.notes))
    return "\n\n".join(blocks) + "\n"


def how(table: Table) -> str:
    """What was judged, and how to read it."""
    benign = table.texts - table.attacks
    against = (
        f" Differences are to {table.reference}, paired: the same resamples of near-duplicate clusters for both, p"
        " after Holm over the rows. Ratios of P95 are in units of a fixed workload that ran between a row's own calls."
        if table.reference
        else ""
    )
    return (
        f"{table.texts:,} texts of {table.split} ({table.attacks:,} attacks, {benign:,} benign), {table.timestamp}."
        f"{against} {cells_of.DOUBTED} before milliseconds: the machine was too noisy for them."
    )


def print_options(table: Table, console: Console | None = None) -> None:
    """The table on the terminal, what is missing, and the commands that make it."""
    console = console or Console()
    cells = [(row[0], row[1], row[2], row[5], row[7], row[9], row[12]) for row in cells_of.option_rows(table)]
    print_table(cells_of.SHORT, cells, [table.synthetic] if table.synthetic else [], console)
    for line in (how(table), *table.notes):
        console.print(Text(printable(line)))
    for one in table.missing:
        console.print(Text(printable(f"not in the table: {one.name} ({one.reason})")))
    if commands := to_build(table):
        console.print("what makes the missing rows, in this order:")
    for command in commands:
        console.print(Text(printable(f"  {command}")), soft_wrap=True)  # to be copied


def to_build(table: Table) -> list[str]:
    """The commands of the missing rows, each once, without those that made a row that is there."""
    done = {command for row in table.rows for command in row.build}
    wanted = dict.fromkeys(command for one in table.missing for command in one.build)
    return [command for command in wanted if command not in done]
