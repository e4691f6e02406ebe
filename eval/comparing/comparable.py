"""Whether two reports can be set against each other: the same rows, the same machine."""

from __future__ import annotations

from core.errors import UserError
from eval.schema import Report


def same_rows(report: Report, baseline: Report) -> None:
    """UserError unless both were judged on one split with one fingerprint (texts, labels, families, groups)."""
    if report.split != baseline.split:
        raise UserError(
            f"the report is on {report.split}, the baseline on {baseline.split}: judge both on the same split"
        )
    found = [_fingerprint("report", report), _fingerprint("baseline", baseline)]
    if found[0] != found[1]:
        raise UserError(
            f"the {report.split} rows differ: {report.rows} rows with fingerprint {found[0][:12]} in the report,"
            f" {baseline.rows} with {found[1][:12]} in the baseline; judge both on the same data"
        )


def _fingerprint(name: str, one: Report) -> str:
    fingerprint = (one.provenance.get("fingerprints") or {}).get(one.split)
    if not isinstance(fingerprint, str):
        raise UserError(f"the {name} names no fingerprint of its {one.split} rows: judge it again with eval.run")
    return fingerprint


def other_machine(report: Report, baseline: Report) -> str | None:
    """Why the milliseconds of two runs say nothing about each other, in words; None where they do.

    The same machine has the same processor, cores and instruction sets, and the runs used as many threads; memory and
    the version of the system do not count.
    """
    for name, one in (("report", report), ("baseline", baseline)):
        if one.latency is None:
            return f"{one.model_id} ({name}) was not timed"
    mine, other = report.hardware, baseline.hardware
    if (mine.cpu, mine.cores, mine.cpu_flags) != (other.cpu, other.cores, other.cpu_flags):
        flags = "" if mine.cpu_flags == other.cpu_flags else ", other instruction sets"
        return f"timed on other hardware: {other.cpu}, {other.cores} cores; then {mine.cpu}, {mine.cores} cores{flags}"
    threads = [one.latency.threads for one in (baseline, report) if one.latency is not None]
    if len(set(threads)) > 1:
        return f"timed with {threads[0]} thread(s), then with {threads[1]}"
    return None


def noisy(report: Report, baseline: Report) -> str | None:
    """Why at least one of the two runs cannot be trusted, in words; None where both can."""
    for name, one in (("report", report), ("baseline", baseline)):
        if one.latency is not None and not one.latency.noise.trusted:
            return f"the machine wavered under {one.model_id} ({name}): {one.latency.noise.sentence}"
    return None
