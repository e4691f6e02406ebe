"""Every option of a configuration judged on the same rows, or its fresh report taken over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core import manifest
from core.config import resolved
from core.data import Corpus
from core.errors import UserError
from core.pipeline import open_pipeline
from core.provenance import provenance
from core.schema import Experiment
from core.schema.options import Option
from eval.comparing.comparison import Side
from eval.comparing.freshness import take_over
from eval.comparing.options import Judged
from eval.judged import judged, rows_of, shared_rows
from eval.report import JSON, write_outcome
from eval.run import report_folder
from eval.schema import Overlap
from eval.schema.options import Missing

NOT_BUILT = "not built"


@dataclass(frozen=True)
class Rows:
    """What every option is judged on."""

    corpus: Corpus
    shared: Overlap | None


def judge_all(experiment: Experiment, there: Sequence[Option], again: bool) -> tuple[list[Judged], list[Missing]]:
    """Each option's report, taken over (unless `again`) or made; what cannot be judged keeps no other from it.

    UserError: not one could be judged.
    """
    corpus = rows_of(experiment)
    rows = Rows(corpus, shared_rows(experiment, corpus))
    found, reasons = [], {option.name: NOT_BUILT for option in experiment.options.rows}
    for number, option in enumerate(there, 1):
        print(f"{number} of {len(there)}: {option.name}")
        try:
            found.append(judge_one(experiment, option, rows, again))
        except UserError as error:
            print(f"  left out: {error}")
            reasons[option.name] = str(error)
    if not found:
        raise UserError(f"not one of the {len(there)} options could be judged; the first: {reasons[there[0].name]}")
    done = {of.option.name for of in found}
    return found, [
        missing(option, reasons[option.name]) for option in experiment.options.rows if option.name not in done
    ]


def missing(option: Option, reason: str) -> Missing:
    """An option that is not in the table."""
    return Missing(
        name=option.name,
        checkpoint=str(option.checkpoint),
        build=option.build,
        stand_in=option.stand_in,
        reason=reason,
    )


def judge_one(experiment: Experiment, option: Option, rows: Rows, again: bool) -> Judged:
    """One option's report: of an earlier run, of `eval.run` beside the checkpoint, or made now and written."""
    evaluation, checkpoint = experiment.evaluation, option.checkpoint
    experiment = experiment.model_copy(update={"checkpoint": checkpoint})  # the report says what it is on
    own = experiment.output / "reports" / f"{option.key}-{evaluation.split}"
    files = manifest.read(checkpoint).hashes
    asked = provenance(resolved(experiment), experiment.seed, rows.corpus.fingerprints)
    for folder in () if again else (own, report_folder(checkpoint.parent, checkpoint, evaluation.split)):
        if (folder / JSON).is_file():
            side = take_over(option.name, folder, files, asked, evaluation)
            if isinstance(side, Side):
                return Judged(option, side, str(folder), taken_over=True)
            print(f"  {folder} is not taken over: {side}")
    outcome = judged(experiment, open_pipeline(checkpoint), rows.corpus, rows.shared)
    write_outcome(outcome, own)
    return Judged(option, Side(option.name, outcome.report, outcome.kept), str(own), taken_over=False)
