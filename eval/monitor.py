"""Watch a model in service: served predictions against the live thresholds and against the evaluation, for alerting."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from core import cli
from core.errors import UserError
from core.folders import atomic_write, writable
from core.provenance import timestamp
from eval.live.times import declare_times
from eval.schema.live import CRITICAL, OK, WARNING, Alarm, Alarms

if TYPE_CHECKING:
    from eval.live.read import Wanted
    from eval.schema.live import Health

MEANINGS = {
    OK: "no alarm: all is ok, undecided or not measured",
    WARNING: "a warning",
    2: "could not tell: an unreadable or empty log, or a mistake of the command",
    CRITICAL: "critical: the whole interval of a figure lies above its critical level; wins over 1",
}


def work(arguments: argparse.Namespace) -> int:
    """Read, judge, write, print; returns the status."""
    from eval.live.page import print_health

    alarms = parse_alarms(arguments.alarm)
    for path in (arguments.json, arguments.html):
        if path is not None:
            writable(path.resolve().parent)
    found = monitor(arguments.log, wanted(arguments), alarms, arguments.reference)
    write(found, arguments.json, arguments.html)
    print_health(found)
    return found.status


def monitor(log: Path, wanted: Wanted, alarms: Alarms, reference: Path | None = None) -> Health:
    """One pass over the log. `reference`: a report's folder, with the predictions that are kept beside it."""
    from eval import kept
    from eval.live.evaluated import prepare
    from eval.live.health import health
    from eval.live.read import LogReader
    from eval.live.tally import Tally
    from eval.report import read

    tally, evaluated = Tally(), None
    if reference is not None:
        folder = reference if reference.is_dir() else reference.parent
        tally, evaluated = prepare(read(reference), kept.read(folder))
    reader = LogReader(log, wanted)
    tally.add_all(reader.batches())
    return health(tally, reader, alarms, timestamp(), evaluated)


def wanted(arguments: argparse.Namespace) -> Wanted:
    """Which lines count, by the command line."""
    from eval.live.labels import read_labels
    from eval.live.read import Wanted

    labels = {} if arguments.labels is None else read_labels(arguments.labels)
    return Wanted(arguments.model, arguments.since, arguments.until, labels)


def write(found: Health, as_json: Path | None, as_html: Path | None) -> None:
    """The files that were asked for."""
    from eval.live.page import to_html

    if as_json is not None:
        atomic_write(as_json, found.model_dump_json(indent=2) + "\n")
    if as_html is not None:
        atomic_write(as_html, to_html(found))


def parse_alarms(texts: list[str]) -> Alarms:
    """The levels, some of them replaced by NAME=WARNING,CRITICAL. UserError: an unknown name, or no two levels."""
    default = Alarms()
    changed: dict[str, Alarm] = {}
    for text in texts:
        name, _, values = text.partition("=")
        if name not in Alarms.model_fields:
            raise UserError(f"{name!r} has no alarm; choose among {', '.join(Alarms.model_fields)}")
        try:
            first, critical = values.split(",")
            changed[name] = Alarm(warning=float(first) if first.strip() else None, critical=float(critical))
        except ValueError as error:
            raise UserError(
                f"{text}: give two rising levels, NAME=WARNING,CRITICAL, or NAME=,CRITICAL without a warning"
            ) from error
    return default.model_copy(update=changed)


def declare(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("log", type=Path, metavar="LOG.jsonl", help="what core.prediction_log wrote")
    parser.add_argument("--reference", type=Path, metavar="REPORT", help="a report's folder: drift against its rows")
    declare_wanted(parser)
    levels = "; ".join(f"{name} {_shown(alarm)}" for name, alarm in Alarms())
    parser.add_argument(
        "--alarm", action="append", default=[], metavar="NAME=WARNING,CRITICAL", help=f"another level than: {levels}"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page there")


def declare_wanted(parser: argparse.ArgumentParser) -> None:
    """The arguments that say which lines of a log count."""
    parser.add_argument("--model", metavar="NAME", help="only this model's lines; needed where the log holds several")
    declare_times(parser)
    parser.add_argument(
        "--labels", type=Path, metavar="FILE", help='labels given later: lines {"id": "…", "label": 0}; kept in memory'
    )


def _shown(alarm: Alarm) -> str:
    return f"{'' if alarm.warning is None else f'{alarm.warning:g}'},{alarm.critical:g}"


def main() -> None:
    """The command line."""
    cli.run_on_files(
        work,
        module="eval.monitor",
        purpose=(
            "Judge served predictions against the live thresholds: latency, error rates, drift. Reads the log once,"
            "\nin memory that does not grow with it."
        ),
        declare=declare,
        statuses=MEANINGS,
        examples=[
            "python -m eval.monitor served.jsonl --since 1h",
            "python -m eval.monitor served.jsonl --reference artifacts/threats/reports/student-int8-test"
            " --since 2026-01-31T00:00:00+00:00 --labels labels.jsonl --html monitor.html",
        ],
    )


if __name__ == "__main__":
    main()
