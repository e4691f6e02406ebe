"""Verify a serving folder or a .raxe bundle: hashes, shapes, order of outputs, tokenizer, a smoke text."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from core import cli
from core.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from export.checks.folder import Finding


def work(arguments: argparse.Namespace) -> int:
    """Each check on a line; the status says whether all passed."""
    wrong = 0
    for name, faults in findings(arguments.path):
        print(f"{'wrong' if faults else 'ok   '}  {name}" + (f": {'; '.join(faults)}" if faults else ""))
        wrong += len(faults)
    print(f"{arguments.path} " + (f"must not be served: {wrong} fault{'s' * (wrong > 1)}" if wrong else "verifies"))
    return 1 if wrong else 0


def findings(path: Path) -> Iterator[Finding]:
    """What was looked at and what is wrong with it; UserError where it cannot be looked at."""
    # Imported here so that --help does not wait for the model libraries.
    from export.checks import bundle, folder

    if path.is_dir():
        yield from folder.check(path)
    elif path.is_file():
        faults, _ = bundle.problems(path)
        yield "archive, files and checksums (its pickles by hash alone)", faults
    else:
        raise UserError(f"there is nothing at {path}; give a serving folder or a .raxe bundle")


def main() -> None:
    """The command line."""
    cli.run_on_files(
        work,
        module="export.verify",
        purpose=(
            "Verify a serving folder of any layout, or a .raxe bundle alone: hashes, graphs, heads, order of outputs,"
            " tokenizer, and a smoke text read as the layout's consumer reads it. Nothing is unpickled or unpacked."
        ),
        declare=lambda parser: parser.add_argument("path", type=Path, help="serving folder, or .raxe bundle"),
        examples=[
            "python -m export.verify artifacts/quickstart/student-int8",
            "python -m export.verify artifacts/threats/student-int8-raxe-bundle/raxe_model_l2_student-int8.raxe",
        ],
        statuses={0: "verifies", 1: "must not be served", 2: "damaged, hostile or unreadable"},
    )


if __name__ == "__main__":
    main()
