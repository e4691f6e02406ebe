"""Judge every option of a roadmap on the same texts in one run: one table, with what was expected of each."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from core import cli
from core.errors import UserError
from core.schema import Experiment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.schema.options import Option
    from eval.comparing.options import Judged
    from eval.schema.options import Table

ALL, SOME = 0, 3


def work(experiment: Experiment, arguments: argparse.Namespace | None = None) -> int:
    """Judge what is there, compare, write, print."""
    # Imported here so that --help and mistakes in the configuration do not wait for the model libraries.
    from core.folders import writable
    from eval.comparing.options import table
    from eval.comparing.options_judging import judge_all
    from eval.comparing.options_page import print_options

    there = refuse_nothing(experiment)
    folder = writable(experiment.output / f"options-{experiment.evaluation.split}")
    judged, missing = judge_all(experiment, there, arguments is not None and arguments.again)
    found = table(experiment, judged, missing)
    paths = write(found, judged, folder)
    print_options(found)
    for path in paths:
        print(path)
    return SOME if found.missing else ALL


def refuse_nothing(experiment: Experiment) -> list[Option]:
    """The options whose folder is there. UserError: the configuration names none, or not one is built."""
    named = experiment.options.rows
    if not named:
        raise UserError("there is no option to judge: the configuration needs options.rows")
    if not (there := [option for option in named if option.checkpoint.is_dir()]):
        raise UserError(
            f"none of the {len(named)} checkpoints of options.rows is there; the first, {named[0].checkpoint}, is made"
            f" by: {'; '.join(named[0].build)}"
        )
    return there


def write(found: Table, judged: Sequence[Judged], folder: Path) -> tuple[Path, ...]:
    """options.json, options.md, options.html and options-costs.html.

    The last two are the dashboard of these reports under the options' names, and what each saves against the reference.
    """
    from core.folders import atomic_write
    from eval.comparing.options_page import markdown
    from eval.dashboard import costs_to_html, to_html
    from eval.pages.runs import Run, Runs
    from eval.schema.live_prices import Prices

    as_json, as_markdown, page = (folder / f"options.{kind}" for kind in ("json", "md", "html"))
    costs = folder / "options-costs.html"
    every = tuple(Run(of.side.report, Path(of.folder).resolve(), of.option.name) for of in judged)
    runs, searched, lies = Runs(every, every, (), ()), folder.resolve(), page.resolve()
    atomic_write(as_markdown, markdown(found))
    atomic_write(page, to_html(runs, searched, lies, costs.name))
    atomic_write(costs, costs_to_html(runs, searched, lies, Prices(), found.reference))
    atomic_write(as_json, found.model_dump_json(indent=2) + "\n")
    return as_json, as_markdown, page, costs


def main() -> None:
    """The command line."""
    cli.run(
        work,
        module="eval.options",
        purpose=(
            "Judge the checkpoints of options.rows on one split in one run, each as eval.run would, and set them beside"
            " each other: figures with intervals, paired differences to options.reference, what was expected of each,"
            " and the commands for what is not built. Reports that are there and fresh are taken over. Writes"
            " options.json, .md, .html and options-costs.html (what each saves) to <output>/options-<split>/ and the"
            " reports to <output>/reports/."
        ),
        sections=("output", "options", "data", "evaluation"),
        flags={"again": "judge every row again, also where a fresh report is there"},
        statuses={ALL: "every row is in the table", SOME: "the table was written; some rows are not built"},
        examples=[
            "python -m eval.options --config configs/options.yaml",
            "python -m eval.options --config configs/options.yaml evaluation.split=test --again",
        ],
    )


if __name__ == "__main__":
    main()
