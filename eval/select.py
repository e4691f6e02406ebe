"""Which model folder raxe-ce's serving registry will choose, by its own rules, and why."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from core import cli
from core.folders import atomic_write, writable
from eval.schema.live_choice import Choice, Criteria

if TYPE_CHECKING:
    from eval.schema.live_choice import Candidate

HEAD = ("Model", "Status", "P95, ms", "F1", "MB", "Points", "How", "Servable")
NOTHING = 1


def work(arguments: argparse.Namespace) -> int:
    """Read, choose, print, write; 1 where nothing that can be served is chosen."""
    from eval.live.choosing import choose, expand

    choice = choose(expand(arguments.folders), arguments.criteria)
    if arguments.json is not None:
        writable(arguments.json.resolve().parent)
        atomic_write(arguments.json, choice.model_dump_json(indent=2) + "\n")
    print_choice(choice)
    return 0 if chosen_and_served(choice) else NOTHING


def chosen_and_served(choice: Choice) -> bool:
    """Whether the registry would end with a detector."""
    return choice.chosen is not None and choice.scored[0].candidate.refused is None


def print_choice(choice: Choice) -> None:
    """The candidates in the order of the choice, then the choice and what is odd about it."""
    from eval.cells import print_table
    from eval.printable import printable

    rows = [
        (
            one.candidate.model_id,
            one.candidate.status if one.considered else f"{one.candidate.status}, not considered",
            *figures(one.candidate),
            f"{one.score:.2f}",
            one.sentence,
            one.candidate.refused or "yes",
        )
        for one in choice.scored
    ]
    print_table(HEAD, rows, [f"raxe-ce's ModelRegistry at 0cd953e, criteria {choice.criteria}"])
    for one in choice.skipped:
        print(printable(f"not listed: {one.folder}: {one.reason}"))
    for note in choice.notes:
        print(printable(note))
    print(printable(f"chosen: {choice.chosen or 'none'}"))


def figures(candidate: Candidate) -> tuple[str, ...]:
    """P95, F1 and memory as the manifest gives them."""
    given = (candidate.p95_ms, candidate.binary_f1, candidate.memory_mb)
    return tuple("–" if value is None else f"{value:g}" for value in given)


def declare(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument(
        "folders", type=Path, nargs="+", metavar="FOLDER", help="model folders, or a folder of them, with manifest.yaml"
    )
    parser.add_argument("--criteria", choices=get_args(Criteria), default="balanced", help="(default balanced)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the choice there too")


def main() -> None:
    """The command line."""
    cli.run_on_files(
        work,
        module="eval.select",
        purpose=(
            "Which model folder raxe-ce's serving registry will choose, from the figures in their manifests.\n"
            "Loads no model and checks no hash: the registry does neither."
        ),
        declare=declare,
        statuses={0: "a model is chosen that can be served", NOTHING: "none is chosen, or one that cannot be served"},
        examples=[
            "python -m eval.select artifacts/threats/student-int8 artifacts/threats/student-fp32",
            "python -m eval.select models/ --criteria latency",
        ],
    )


if __name__ == "__main__":
    main()
