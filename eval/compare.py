"""Compare checkpoints on the same texts, from reports and the predictions kept beside them; no model is loaded."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from core import cli
from core.errors import UserError
from core.folders import atomic_write, writable
from eval import kept
from eval.comparing.comparison import Side, compare
from eval.comparing.page import print_comparison, to_markdown
from eval.report import read
from eval.schema.comparison import Comparison

SHOWN = 20


def work(arguments: argparse.Namespace) -> int:
    """Read, compare, write, print."""
    paths = [arguments.baseline, *arguments.others]
    folders = [path if path.is_dir() else path.parent for path in paths]
    sides = [
        Side(name, read(path), kept.read(at)) for name, path, at in zip(names(folders), paths, folders, strict=True)
    ]
    folder = writable(arguments.output or default_folder(folders[1], [side.name for side in sides]))
    comparison = compare(sides[0], sides[1:])
    written = write(comparison, folder, arguments.flips)
    print_comparison(comparison)
    for path in written:
        print(path)
    return 0


def names(folders: Sequence[Path]) -> list[str]:
    """The folders' own names, with as many of their parents' as tell them apart. UserError: the same folder twice."""
    whole = [folder.resolve() for folder in folders]
    if twice := [folder for index, folder in enumerate(whole) if folder in whole[:index]]:
        raise UserError(f"{twice[0]} is given twice: a report needs no comparison with itself")
    length = 1
    while len({folder.parts[-length:] for folder in whole}) < len(whole):
        length += 1
    return ["/".join(folder.parts[-length:]) for folder in whole]


def default_folder(peer: Path, shown: Sequence[str]) -> Path:
    """<the first peer's parent>/comparisons/<A>-against-<B>: below the reports, so that no glob takes it for one."""
    return peer.resolve().parent / "comparisons" / against([name.replace(os.sep, "-") for name in shown], "-and-")


def against(shown: Sequence[str], between: str) -> str:
    """<A>-against-<B>[<between><C>…], cut where a file system, which takes 255 bytes, would refuse it."""
    baseline, *others = shown
    listed = between.join(others)
    if len(f"{baseline}{listed}") > 200:
        listed = f"{others[0][:90]}-and-{len(others) - 1}-more"
    return f"{baseline[:90]}-against-{listed}"


def write(comparison: Comparison, folder: Path, shown: int) -> tuple[Path, Path]:
    """comparison.json with every flip, comparison.md with the `shown` most confident of each kind."""
    as_json, as_markdown = folder / "comparison.json", folder / "comparison.md"
    atomic_write(as_markdown, to_markdown(comparison, shown))
    atomic_write(as_json, comparison.model_dump_json(indent=2) + "\n")
    return as_json, as_markdown


def declare(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("baseline", type=Path, metavar="A", help="the baseline: a report's folder, or its report.json")
    parser.add_argument("others", type=Path, nargs="+", metavar="B", help="each is compared with A")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER",
        help="where comparison.json and comparison.md go (default: comparisons/A-against-B beside B's folder)",
    )  # fmt: skip
    parser.add_argument(
        "--flips", type=_count, default=SHOWN, metavar="N",
        help=f"texts of each kind of flip in comparison.md, the most confident first (default {SHOWN})",
    )  # fmt: skip


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is no number of texts: give 0 or more")
    return value


def main() -> None:
    """The command line."""
    cli.run_on_files(
        work,
        module="eval.compare",
        purpose=(
            "Compare checkpoints on the same texts: paired bootstrap and McNemar, decision flips with the texts,"
            "\nfamilies, sources, size and latency. Reads reports and what is kept beside them; loads no model."
        ),
        declare=declare,
        statuses={2: "could not compare: unreadable, other texts or labels, or no kept predictions"},
        examples=[
            "python -m eval.compare artifacts/threats/reports/student-test artifacts/threats/reports/student-int8-test",
        ],
    )


if __name__ == "__main__":
    main()
