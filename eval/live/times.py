"""Which time of a log counts, on the command line: a point in time, or an age."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime, timedelta


def declare_times(parser: argparse.ArgumentParser) -> None:
    """The arguments that say which time of a log counts."""
    parser.add_argument(
        "--since", type=moment, metavar="TIME",
        help="only lines from then on: ISO 8601 with its zone, or so long ago: 30m, 1h, 7d",
    )  # fmt: skip
    parser.add_argument("--until", type=moment, metavar="TIME", help="only lines before then, given likewise")


def moment(text: str) -> datetime:
    """The point in time that the text names; as elsewhere (docker, kubectl, journalctl) an age counts from now."""
    if age := re.fullmatch(r"(\d+)([smhd])", text):
        unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[age[2]]
        try:
            return datetime.now(UTC) - timedelta(**{unit: int(age[1])})
        except OverflowError as error:
            raise argparse.ArgumentTypeError(f"{text} ago there was no calendar") from error
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is no time: write 2026-01-31T12:00:00+00:00 or 1h") from error
    if at.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text} has no zone: write {text}+00:00")
    return at
