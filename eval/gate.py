"""Gate a report against a baseline in CI: no drop in accuracy, no size over budget, no slowdown, no rollback case."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from pydantic import ValidationError

from core import cli
from core.errors import UserError
from core.folders import atomic_write, writable
from eval.gates import judge
from eval.printable import printable
from eval.report import read
from eval.schema.gate import NOT_JUDGED, PASSED, REGRESSION, ROLLBACK, Gate, Rules
from eval.schema.race import Race

MEANINGS = {
    PASSED: "passed",
    REGRESSION: "a regression: an accuracy figure, the size or the latency ratio is over its limit",
    NOT_JUDGED: "could not judge: an unreadable report, another schema version, other rows, or a check without figures",
    ROLLBACK: "the rollback rule is broken (FPR or FNR over its limit); wins over 1",
}
OUTCOMES = {"pass": "pass", "fail": "FAIL", "not judged": "NOT JUDGED"}


def work(arguments: argparse.Namespace) -> int:
    """Read, judge, print, write; returns the status."""
    race = None if arguments.race is None else read_race(arguments.race)
    gate = judge(read(arguments.report), read(arguments.baseline), rules(arguments), race)
    status = gate.status(arguments.allow_unjudged)
    if arguments.json is not None:
        writable(arguments.json.resolve().parent)
        atomic_write(arguments.json, gate.model_dump_json(indent=2) + "\n")
    print("\n".join(lines(gate, status)))
    return status


def rules(arguments: argparse.Namespace) -> Rules:
    """The limits of the command line."""
    return Rules(
        max_drop=arguments.max_drop,
        max_size_mb=arguments.max_size_mb,
        max_latency_ratio=arguments.max_latency_ratio,
        max_fpr=arguments.max_fpr,
        max_fnr=arguments.max_fnr,
    )


def read_race(path: Path) -> Race:
    """What `eval.race` wrote. UserError: missing, or not a race."""
    try:
        return Race.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read the race {path}: {error.strerror}; `python -m eval.race` writes one") from error
    except ValidationError as error:
        raise UserError(f"{path} is no race of this version: {error.errors()[0]['msg']}; race again") from error


def lines(gate: Gate, status: int) -> list[str]:
    """One line a check, then the verdict; whatever a name holds, it stays on its line."""
    checks = [f"{OUTCOMES[check.outcome]:10}  {check.name:37}  {check.sentence}" for check in gate.checks]
    head = f"{gate.report} against {gate.baseline}, {gate.split}, {gate.rows} rows"
    return [printable(line) for line in (head, *checks, f"status {status}: {MEANINGS[status]}")]


def declare(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    default = Rules()
    parser.add_argument("report", type=Path, metavar="REPORT", help="report.json to judge, or its folder")
    parser.add_argument("--baseline", type=Path, required=True, metavar="REPORT", help="what is served now")
    limits = {
        "--max-drop": (default.max_drop, "how far an accuracy figure may fall, or an error rate rise, absolute"),
        "--max-size-mb": (None, "size of the folder, MB; without it the report's own target"),
        "--max-latency-ratio": (default.max_latency_ratio, "P50 and P95 over the baseline's, on the same hardware"),
        "--max-fpr": (default.max_fpr, "rollback: highest false-positive rate"),
        "--max-fnr": (default.max_fnr, "rollback: highest false-negative rate"),
    }
    for name, (value, text) in limits.items():
        shown = "" if value is None else f" (default {value:g})"
        parser.add_argument(name, type=_limit, default=value, metavar="N", help=text + shown)
    parser.add_argument(
        "--allow-unjudged", action="store_true",
        help="pass although a check could not be made (it stays shown): a latency timed on other hardware, say",
    )  # fmt: skip
    parser.add_argument(
        "--race", type=Path, metavar="FILE",
        help="race.json of the two, the baseline first: the latency ratio from interleaved calls, on any machine",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the checks there too")


def _limit(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text} is no limit: give a number of at least 0")
    return value


def main() -> None:
    """The command line."""
    cli.run_on_files(
        work,
        module="eval.gate",
        purpose="Judge a report against the report of what is served now; both on the same rows.",
        declare=declare,
        statuses=MEANINGS,
        examples=[
            "python -m eval.gate artifacts/threats/reports/student-int8-test --baseline baseline/report.json",
            "python -m eval.gate artifacts/threats/reports/student-int8-test --baseline baseline/report.json"
            " --max-drop 0.005 --allow-unjudged --json gate.json",
        ],
    )


if __name__ == "__main__":
    main()
