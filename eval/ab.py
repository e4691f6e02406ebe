"""The A/B test of two variants in service, from their prediction logs: is B worse, is it to be taken back?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from core import cli
from core.errors import UserError
from core.folders import atomic_write, writable
from core.provenance import timestamp
from eval.live.times import declare_times
from eval.schema.live_ab import NOT_WORSE, ROLLBACK, WORSE, ABTest, Effects, Limits

if TYPE_CHECKING:
    from eval.live.read import Wanted
    from eval.live.side import Side

MEANINGS = {
    NOT_WORSE: "B is in no figure shown to be worse, and breaks no rollback limit",
    WORSE: "B is worse in a figure, or over a rollback limit without proof",
    2: "could not tell: an unreadable or empty log, or a mistake of the command",
    ROLLBACK: "roll B back: its whole interval lies above a rollback limit; wins over 1",
}


def work(arguments: argparse.Namespace) -> int:
    """Read, compare, write, print; returns the status."""
    from eval.live.ab_page import print_test
    from eval.live.labels import read_labels
    from eval.live.read import Wanted

    effects = parse_effects(arguments.effect)
    if arguments.json is not None:
        writable(arguments.json.resolve().parent)
    labels = {} if arguments.labels is None else read_labels(arguments.labels)
    times = arguments.since, arguments.until
    wanted = [Wanted(model, *times, labels) for model in (arguments.model_a, arguments.model_b)]
    limits = Limits(false_positive_rate=arguments.max_fpr, false_negative_rate=arguments.max_fnr)
    test = ab(arguments.log_a, arguments.log_b, (wanted[0], wanted[1]), effects, limits, arguments.power)
    if arguments.json is not None:
        atomic_write(arguments.json, test.model_dump_json(indent=2) + "\n")
    print_test(test, MEANINGS[test.status])
    return test.status


def ab(
    log_a: Path, log_b: Path, wanted: tuple[Wanted, Wanted], effects: Effects, limits: Limits, power: float
) -> ABTest:
    """One pass over each log."""
    from eval.live.sizes import quantile
    from eval.live.testing import compare

    quantile(power)  # before an hour of reading
    sides = [_read(path, lines) for path, lines in zip((log_a, log_b), wanted, strict=True)]
    return compare(sides[0], sides[1], timestamp(), effects, limits, power)


def _read(path: Path, wanted: Wanted) -> Side:
    from eval.live.read import LogReader
    from eval.live.side import Side
    from eval.live.tally import Tally

    reader = LogReader(path, wanted)
    return Side.of(Tally().add_all(reader.batches()), reader, seed=0)


def parse_effects(texts: list[str]) -> Effects:
    """The stated effects, some replaced by NAME=SIZE. UserError: an unknown name, or no size above 0."""
    changed = dict(text.partition("=")[::2] for text in texts)
    if unknown := changed.keys() - Effects.model_fields.keys():
        raise UserError(f"{unknown.pop()!r} has no effect; choose among {', '.join(Effects.model_fields)}")
    try:
        return Effects.model_validate(changed)
    except ValidationError as error:
        raise UserError(f"--effect {error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}") from error


def declare(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    limits = Limits()
    parser.add_argument("log_a", type=Path, metavar="LOG_A", help="what is served now (core.prediction_log wrote it)")
    parser.add_argument("log_b", type=Path, metavar="LOG_B", help="what is to replace it; may be the same file")
    parser.add_argument("--model-a", metavar="NAME", help="only this model's lines of LOG_A")
    parser.add_argument("--model-b", metavar="NAME", help="only this model's lines of LOG_B")
    declare_times(parser)
    parser.add_argument("--labels", type=Path, metavar="FILE", help='labels given later: lines {"id": "…", "label": 0}')
    stated = "; ".join(f"{name} {value:g}" for name, value in Effects())
    parser.add_argument(
        "--effect", action="append", default=[], metavar="NAME=SIZE",
        help=f"the smallest difference worth seeing: times as a share of A's, rates absolute (default {stated})",
    )  # fmt: skip
    parser.add_argument("--power", type=float, default=0.8, metavar="N", help="chance to see it (default 0.8)")
    for name, value, what in (
        ("--max-fpr", limits.false_positive_rate, "false-positive"),
        ("--max-fnr", limits.false_negative_rate, "false-negative"),
    ):
        parser.add_argument(
            name, type=float, default=value, metavar="N", help=f"rollback: highest {what} rate of B (default {value:g})"
        )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there")


def main() -> None:
    """The command line."""
    cli.run_on_files(
        work,
        module="eval.ab",
        purpose=(
            "Compare two variants in service: latency and error rates with intervals and p-values, the lines still"
            "\nneeded, the rollback rule. Reads each log once, in memory that does not grow with it."
        ),
        declare=declare,
        statuses=MEANINGS,
        examples=[
            "python -m eval.ab served-a.jsonl served-b.jsonl",
            "python -m eval.ab served.jsonl served.jsonl --model-a student --model-b student-int4 --labels labels.jsonl"
            " --effect false_positive_rate=0.002 --json ab.json",
        ],
    )


if __name__ == "__main__":
    main()
