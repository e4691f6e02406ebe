"""All reports below a folder on one page: what each checkpoint achieves, what it costs, how it moved."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import cli
from core.folders import atomic_write, writable

if TYPE_CHECKING:
    from eval.pages.runs import Runs


def work(arguments: argparse.Namespace) -> int:
    """Find, render, write, print."""
    from eval.pages.runs import find

    output = arguments.output or arguments.folder / "dashboard.html"
    runs = find(arguments.folder)
    writable(output.resolve().parent)
    atomic_write(output, to_html(runs, arguments.folder.resolve(), output.resolve()))
    print(summary(runs))
    print(output)
    return 0


def summary(runs: Runs) -> str:
    """What the page holds, in a line."""
    sets = len({run.texts for run in runs.newest})
    older, broken = len(runs.every) - len(runs.newest), len(runs.broken)
    parts = [
        f"{len(runs.newest)} rows on {sets} set(s) of texts",
        f"{older} older report(s)",
        f"{len(runs.steps)} steps",
    ]
    return ", ".join([*parts, f"{broken} report(s) that could not be read"])


def to_html(runs: Runs, searched: Path, page: Path) -> str:
    """The page; the same reports give the same bytes. `searched` and `page` (where it will lie) make the links."""
    from eval.pages import board
    from eval.pages.page import render
    from eval.pages.sets import sets
    from eval.pages.trends import over_steps

    table = board.rows(runs.newest, searched, page)
    values: Mapping[str, Any] = {
        "folder": searched.name,
        "columns": board.COLUMNS,
        "falling": board.HIGHER_IS_BETTER,
        "rows": table,
        "sets": sets(runs, {row.folder: row.number for row in table}),
        "steps": over_steps(runs.steps),
        "broken": runs.broken,
        "older": len(runs.every) - len(runs.newest),
        "latest": max((run.report.timestamp for run in runs.every), default=""),
        "synthetic": next((run.report.synthetic for run in runs.newest if run.report.synthetic), None),
        "stamped": sum(row.synthetic for row in table),
    }
    return render("dashboard.html.j2", values, "sort.js")


def declare(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="searched for report.json, with all folders in it")
    parser.add_argument("--output", type=Path, metavar="FILE", help="the page (default: FOLDER/dashboard.html)")


def main() -> None:
    """The command line."""
    cli.run_on_files(
        work,
        module="eval.dashboard",
        purpose="Put every report below a folder on one page: Pareto pictures, trends, one row per checkpoint.",
        declare=declare,
        statuses={0: "the page was written; reports that could not be read are listed on it", 2: "nothing to show"},
        examples=["python -m eval.dashboard artifacts/"],
    )


if __name__ == "__main__":
    main()
