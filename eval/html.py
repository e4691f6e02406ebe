"""One report as one HTML file: the verdict first, then everything it rests on; opens offline and runs no script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.errors import UserError
from eval.kept import Kept
from eval.schema import Report


def to_html(report: Report, kept: Kept) -> str:
    """The page; the same report and predictions give the same bytes. UserError: predictions of other rows."""
    from eval.pages.page import render  # pictures and templates load matplotlib and jinja2: here, not at import

    if len(kept.rows) != report.rows:
        raise UserError(
            f"the report is on {report.rows:,} rows, the predictions beside it are of {len(kept.rows):,}:"
            " judge again with eval.run"
        )
    return render("report.html.j2", {"report": report, **_texts(report, kept), **_pictures(report, kept)})


def _texts(report: Report, kept: Kept) -> Mapping[str, Any]:
    from eval.pages import facts, mistakes, parts, verdicts

    latency, grid = report.latency, report.grid
    matrix = report.accuracy.confusion_matrix
    return {
        "attacks": matrix.tp + matrix.fn,
        "benign": matrix.fp + matrix.tn,
        "headline": verdicts.headline(report),
        "sentences": verdicts.sentences(report),
        "mark": verdicts.MARKS[report.verdict],
        "cards": verdicts.cards(report),
        "figures": facts.accuracy(report),
        "matrix": matrix,
        "families": parts.families(kept),
        "tables": parts.tables(report),
        "all_sources": parts.by_errors(report.per_source),
        "sensitivity": parts.sensitivity(report),
        "percentiles": facts.percentiles(latency) if latency else [],
        "stages": facts.stages(latency) if latency else [],
        "grid": facts.crossing(grid) if grid else None,
        "bytes": facts.bytes_by_group(report),
        "mistakes": mistakes.mistakes(kept),
        "origin": facts.origin(report),
    }


def _pictures(report: Report, kept: Kept) -> Mapping[str, Any]:
    from eval.pages import curves, scores, timings

    return {
        "receiver": curves.receiver(report, kept),
        "precision_recall": curves.precision_recall(report, kept),
        "scores": scores.spread(kept),
        "reliability": scores.reliability(report),
        "by_length": timings.by_length(report, kept),
        "over_the_calls": timings.over_the_calls(report, kept),
    }
