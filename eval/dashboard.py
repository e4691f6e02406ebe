"""All reports below a folder on one page: what each checkpoint achieves, how it moved; and what serving it costs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pydantic import ValidationError

from core import cli
from core.errors import UserError
from core.folders import atomic_write, writable
from eval.schema.live_prices import Prices

if TYPE_CHECKING:
    from eval.pages.runs import Runs


def work(arguments: argparse.Namespace) -> int:
    """Find, render, write, print."""
    from eval.pages.runs import find

    prices = parse_prices(arguments.price)
    output = arguments.output or arguments.folder / "dashboard.html"
    costs = output.with_name(f"{output.stem}-costs.html")
    runs, searched, page = find(arguments.folder), arguments.folder.resolve(), output.resolve()
    bills = costs_to_html(runs, searched, page, prices, arguments.baseline)
    writable(page.parent)
    atomic_write(output, to_html(runs, searched, page, costs.name))
    atomic_write(costs, bills)
    print(summary(runs))
    print(output)
    print(costs)
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


def to_html(runs: Runs, searched: Path, page: Path, costs: str = "") -> str:
    """The page; the same reports give the same bytes. `searched` and `page` (where it will lie) make the links.

    costs: the name of the cost page beside it, if there is one.
    """
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
        "costs": quote(costs),
    }
    return render("dashboard.html.j2", values, "sort.js")


def costs_to_html(runs: Runs, searched: Path, page: Path, prices: Prices, baseline: str | None = None) -> str:
    """The cost page, which lies beside `page`. UserError: no checkpoint is called `baseline`."""
    from eval.pages.costs import tables
    from eval.pages.costs_inputs import inputs
    from eval.pages.costs_losses import FIGURES
    from eval.pages.page import render

    values: Mapping[str, Any] = {
        "folder": searched.name,
        "back": quote(page.name),
        "prices": inputs(prices),
        "baseline": baseline,
        "tables": tables(runs, searched, page, prices, baseline),
        "figures": FIGURES,
        "synthetic": next((run.report.synthetic for run in runs.newest if run.report.synthetic), None),
    }
    return render("costs.html.j2", values, "costs.js")


def parse_prices(texts: list[str]) -> Prices:
    """The defaults, some replaced by NAME=VALUE. UserError: an unknown name or an impossible value."""
    given = dict(text.partition("=")[::2] for text in texts)
    if unknown := given.keys() - Prices.model_fields.keys():
        raise UserError(f"{unknown.pop()!r} has no price; choose among {', '.join(Prices.model_fields)}")
    try:
        return Prices.model_validate(given)
    except ValidationError as error:
        raise UserError(f"--price {error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}") from error


def declare(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="searched for report.json, with all folders in it")
    parser.add_argument("--output", type=Path, metavar="FILE", help="the page (default: FOLDER/dashboard.html)")
    defaults = "; ".join(f"{name} {value:g}" for name, value in Prices())
    parser.add_argument(
        "--price", action="append", default=[], metavar="NAME=VALUE",
        help=f"what the cost page (FILE-costs.html) begins with, a month, any currency (default {defaults})",
    )  # fmt: skip
    parser.add_argument("--baseline", metavar="MODEL", help="what its savings are against (default: the dearest)")


def main() -> None:
    """The command line."""
    cli.run_on_files(
        work,
        module="eval.dashboard",
        purpose="Every report below a folder on one page: Pareto pictures, trends, a row each; beside it the costs.",
        declare=declare,
        statuses={0: "the page was written; reports that could not be read are listed on it", 2: "nothing to show"},
        examples=[
            "python -m eval.dashboard artifacts/",
            "python -m eval.dashboard artifacts/ --price texts_per_second=500 --price price_per_core=30",
        ],
    )


if __name__ == "__main__":
    main()
