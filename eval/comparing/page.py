"""A comparison for people: as Markdown with the texts that flipped, and as tables on the terminal."""

from __future__ import annotations

import re

from rich.console import Console
from rich.text import Text

from eval.cells import Cells, escape, markdown_table, print_table
from eval.comparing import tables as cells
from eval.comparing.words import caution, latency_note, sentence
from eval.printable import printable
from eval.schema.comparison import Comparison, Flip, Peer

LONGEST = 500  # characters of a text that are shown


def to_markdown(comparison: Comparison, shown: int) -> str:
    """The page; of each kind of flip the `shown` most confident texts."""
    names = ", ".join(peer.name for peer in comparison.peers)
    blocks = [f"# {escape(comparison.baseline)} against {escape(names)}"]
    if comparison.synthetic:
        blocks.append(f"> **{comparison.synthetic}**")
    blocks.append("\n".join(f"- {escape(sentence(comparison, peer))}" for peer in comparison.peers))
    blocks.append(escape(caution(comparison)))
    for peer in comparison.peers:
        blocks += _peer(comparison, peer, shown)
    return "\n\n".join(blocks) + "\n"


def _peer(comparison: Comparison, peer: Peer, shown: int) -> list[str]:
    """Everything of one checkpoint."""
    several = len(comparison.peers) > 1
    sections: dict[str, tuple[tuple[str, ...], Cells]] = {
        "Figures": _without_holm(cells.FIGURE_HEAD, cells.figure_rows(peer), several),
        "Right and wrong": _without_holm(cells.TEST_HEAD, cells.test_rows(peer), several),
        "Size and latency": (cells.COST_HEAD, cells.cost_rows(peer)),
        "Families": (cells.PART_HEAD, cells.part_rows(peer.per_family)),
        "Sources": (cells.PART_HEAD, cells.part_rows(peer.per_source)),
    }
    blocks = [f"## {escape(peer.name)}"]
    for name, (head, rows) in sections.items():
        blocks += [f"### {name}", markdown_table(head, rows)]
        if name == "Size and latency":
            blocks.append(escape(latency_note(peer)))
    blocks.append("### Flips")
    for kind, texts in peer.flips.items():
        few = f", the {shown} most confident" if len(texts) > shown else ""
        blocks.append(f"**{kind}**: {len(texts):,} text{'' if len(texts) == 1 else 's'}{few}")
        if texts[:shown]:
            blocks.append("\n".join(_flip(flip) for flip in texts[:shown]))
    return blocks


def _flip(flip: Flip) -> str:
    origin = f"{escape(flip.family)}, {escape(flip.source)}"
    return f"- {flip.before:.3f} -> {flip.after:.3f} ({origin}): {code(flip.text)}"


def code(text: str) -> str:
    """The text as a code span, on one line: nothing in it is a link, a picture or a tag; cut after 500 characters."""
    line = printable(" ".join(text[: LONGEST + 1].split()))
    line = line[:LONGEST] + "…" if len(text) > LONGEST else line
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    return f"{fence} {line} {fence}"


def _without_holm(head: tuple[str, ...], rows: Cells, several: bool) -> tuple[tuple[str, ...], Cells]:
    """The last column says nothing new where there is one checkpoint."""
    return (head, rows) if several else (head[:-1], [row[:-1] for row in rows])


def print_comparison(comparison: Comparison, console: Console | None = None) -> None:
    """The figures, tests, flips, families and costs of each checkpoint; the texts stand in the files."""
    console = console or Console()
    if comparison.synthetic:
        console.print(Text(comparison.synthetic, style="bold yellow"))
    several = len(comparison.peers) > 1
    for peer in comparison.peers:
        console.print(Text(printable(sentence(comparison, peer)), style="bold"))
        tables = (
            _without_holm(cells.FIGURE_HEAD, cells.figure_rows(peer), several),
            _without_holm(cells.TEST_HEAD, cells.test_rows(peer), several),
            (cells.FLIP_HEAD, cells.flip_rows(peer)),
            (cells.RIGHT_HEAD, cells.right_rows(peer.per_family)),
            (cells.COST_HEAD, cells.cost_rows(peer)),
        )
        for head, rows in tables:
            print_table(head, [tuple(map(printable, row)) for row in rows], (), console)
        console.print(Text(printable(latency_note(peer))))
    console.print(Text(printable(caution(comparison))))
