"""What a reader must know before believing a figure of a live model."""

from __future__ import annotations

from eval.live.evaluated import Evaluated
from eval.live.read import LogReader
from eval.live.tally import Tally


def notes(tally: Tally, log: LogReader, evaluated: Evaluated | None, share: float | None) -> list[str]:
    """A sentence each. `share`: of attacks in the traffic, as its scores look."""
    found = of_log(log) + of_labels(log)
    if tally.counts[:, 1:].any() and tally.counts[:, 0].any():
        found.append("Error rates hold only if labelled lines were chosen by chance among flagged and among allowed.")
    if evaluated is not None and share is not None:
        report = evaluated.report
        if report.model_id != log.model:
            found.append(f"The report is on {report.model_id}, the log of {log.model}: drift may be their difference.")
        found.append(
            f"The evaluation's rows are {evaluated.scores.attack_share:.1%} attacks; the scores look like traffic with"
            f" {share:.1%}, and drift is what remains at that share."
        )
        if report.synthetic:
            found.append(f"The reference is {report.synthetic}.")
    return found


def of_log(log: LogReader) -> list[str]:
    """What was odd about the lines."""
    found, given = [], len(log.wanted.labels)
    if log.unreadable:
        first = log.first_unreadable
        found.append(f"{log.unreadable:,} of {log.read:,} lines could not be read; the first is {first}.")
    if len(log.digests) > 1:
        found.append(f"At least {len(log.digests)} folders answered under the name {log.model}: the figures mix them.")
    if log.labels_used > given > 0:
        found.append("Some calls share an id, so one label went to several lines: give every call an id of its own.")
    return found


def of_labels(*logs: LogReader) -> list[str]:
    """Whether labels given later found no line in any of the logs, which were read with the same labels."""
    unused = len(logs[0].wanted.labels) - sum(log.labels_used for log in logs)
    return [f"{unused:,} given labels belong to no wanted line."] if unused > 0 else []
