"""One of the two logs of an A/B test, read to its end."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import UserError
from eval.live import rates
from eval.live.rates import Estimate
from eval.live.read import LogReader
from eval.live.tally import Tally
from eval.metrics import wilson
from eval.schema.live import Share
from eval.schema.live_ab import Name


@dataclass(frozen=True, eq=False)
class Side:
    """One log, read."""

    tally: Tally
    log: LogReader
    rates: dict[Name, Estimate]

    @classmethod
    def of(cls, tally: Tally, log: LogReader, seed: int) -> Side:
        """UserError: the log holds no wanted line."""
        if not tally.lines:
            raise UserError(f"{log.path} holds no line of the wanted model and time: there is nothing to compare")
        failed = Share(
            value=tally.failed / tally.lines, interval=wilson(tally.failed, tally.lines), method="counted",
            labelled=tally.lines, sentence=f"{tally.failed:,} of {tally.lines:,} calls failed",
        )  # fmt: skip
        found: dict[Name, Estimate] = {
            "false_positive_rate": rates.false_positive_rate(tally.counts, seed),
            "false_negative_rate": rates.false_negative_rate(tally.counts, seed),
            "error_rate": Estimate(failed, None, tally.failed, tally.lines),
        }
        return cls(tally, log, found)
