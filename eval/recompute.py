"""Recompute every figure of a report that follows from its kept predictions and calls, and name what disagrees."""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from core import cli
from core.errors import UserError
from core.provenance import config_hash
from core.rows import fingerprint
from core.schema import Evaluation
from eval import kept
from eval.judge import Measured, judge
from eval.kept import Kept
from eval.printable import printable
from eval.report import read
from eval.schema import Report

AGREES, DIFFERS, COULD_NOT = 0, 1, 2
TOLERANCE = 1e-9  # times the figure where that is above 1
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
RECOMPUTED = (
    "rows", "accuracy", "latency", "targets", "judgements", "meets_targets", "per_family", "per_source",
    "per_length_bucket", "per_script", "sensitivity", "notes",
)  # fmt: skip
MEASURED = (
    "model_id", "timestamp", "split", "synthetic", "hardware", "precision", "grid", "throughput", "resources",
    "threshold", "overlap", "provenance",
)  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """One figure that does not follow from what was kept."""

    path: str
    reported: object
    recomputed: object


@dataclass(frozen=True)
class Recomputed:
    """What became of one report."""

    agreeing: dict[str, int]
    """Figures that agree, by the report's top-level key."""
    differences: tuple[Difference, ...]


def recompute(report: Report, evidence: Kept) -> Recomputed:
    """The report judged again from the kept rows, with its own configuration and seed, and compared figure by figure.

    Besides, the fingerprint of the kept rows and the hash of the configuration are taken again. UserError: the report
    lacks its configuration, or the timed calls that its latency came from are gone.
    """
    if report.latency is not None and evidence.calls is None:
        raise UserError(f"the report holds a latency, but no {kept.CALLS} lies beside it: judge again with eval.run")
    evaluation, seed = settings(report)
    again = judge(evidence, Measured.of(report), evaluation, seed)
    said, found = report.model_dump(mode="json"), again.model_dump(mode="json")
    pairs = [(key, said[key], found[key]) for key in RECOMPUTED] + list(_origins(report, evidence))
    agreeing: Counter[str] = Counter()
    differences = []
    for key, reported, recomputed in pairs:
        for path, old, new in leaves(key, reported, recomputed):
            if same(*(numbers(path, side) for side in (old, new))):
                agreeing[key] += 1
            else:
                differences.append(Difference(path, old, new))
    return Recomputed(dict(agreeing), tuple(differences))


def settings(report: Report) -> tuple[Evaluation, int]:
    """How the report was judged. UserError: its provenance does not say."""
    config, seed = report.provenance.get("config") or {}, report.provenance.get("seed")
    if not isinstance(seed, int) or "evaluation" not in config:
        raise UserError("the report's provenance names no seed or no evaluation: it cannot be computed again")
    try:
        return Evaluation.model_validate(config["evaluation"]), seed
    except ValidationError as error:
        raise UserError(f"the report's provenance holds an evaluation that cannot be read: {error}") from error


def leaves(path: str, reported: Any, recomputed: Any) -> Iterator[tuple[str, Any, Any]]:
    """Every figure of two JSON values by its dotted path; what one lacks is None there."""
    match reported, recomputed:
        case dict(), dict():
            for key in [*reported, *(key for key in recomputed if key not in reported)]:
                yield from leaves(f"{path}.{key}", reported.get(key), recomputed.get(key))
        case list(), list():
            for index in range(max(len(reported), len(recomputed))):
                old, new = (side[index] if index < len(side) else None for side in (reported, recomputed))
                yield from leaves(f"{path}.{index}", old, new)
        case _:
            yield path, reported, recomputed


def numbers(path: str, value: object) -> object:
    """Of a sentence only its numbers: another version's wording is no other figure. Anything else as it is."""
    sentence = path.startswith("notes.") or path.endswith(".sentence")
    return NUMBER.findall(value) if sentence and isinstance(value, str) else value


def same(reported: object, recomputed: object) -> bool:
    """Numbers to 1e-9, everything else exactly."""
    match reported, recomputed:
        case (bool(), _) | (_, bool()):
            return reported is recomputed
        case int() | float(), int() | float():
            return abs(reported - recomputed) <= TOLERANCE * max(1.0, abs(reported))
    return reported == recomputed


def _origins(report: Report, evidence: Kept) -> Iterator[tuple[str, Any, Any]]:
    known = report.provenance
    fingerprints = known.get("fingerprints") or {}
    yield f"provenance.fingerprints.{report.split}", fingerprints.get(report.split), fingerprint(evidence.rows)
    yield "provenance.config_hash", known.get("config_hash"), config_hash(known["config"])


def print_result(folder: Path, result: Recomputed) -> None:
    """What agrees, what does not, and what was measured and so stands unproved."""
    verdict = f"{len(result.differences)} figures differ" if result.differences else "every figure agrees"
    print(f"{folder}: {verdict}")
    print(f"  agree: {', '.join(f'{key} ({count})' for key, count in result.agreeing.items())}")
    for found in result.differences:
        print(f"  DIFFERS {printable(found.path)}: report {found.reported!r}, recomputed {found.recomputed!r}")
    print(f"  measured, not recomputed: {', '.join(MEASURED)}")


def work(arguments: argparse.Namespace) -> int:
    """Recompute every folder's report; one that cannot be read does not keep the others from being checked."""
    statuses = set()
    for given in arguments.folders:
        folder = given if given.is_dir() else given.parent
        try:
            result = recompute(read(given), kept.read(folder))
        except UserError as error:
            print(f"error: {given}: {error}", file=sys.stderr)
            statuses.add(COULD_NOT)
            continue
        print_result(folder, result)
        statuses.add(DIFFERS if result.differences else AGREES)
    return DIFFERS if DIFFERS in statuses else max(statuses)


def main() -> None:
    """The command line."""
    cli.run_on_files(
        work,
        module="eval.recompute",
        purpose="Compute the figures of reports again from the predictions and calls kept beside them.",
        declare=lambda parser: parser.add_argument(
            "folders", nargs="+", type=Path, metavar="FOLDER", help="a report's folder, or its report.json"
        ),
        statuses={AGREES: "every figure agrees", DIFFERS: "a figure differs", COULD_NOT: "could not recompute"},
        examples=["python -m eval.recompute artifacts/threats/reports/*"],
    )


if __name__ == "__main__":
    main()
