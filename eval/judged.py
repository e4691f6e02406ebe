"""An open checkpoint judged on an experiment's rows, with what these share with its training rows; writes nothing."""

from __future__ import annotations

from core.config import resolved
from core.data import Corpus, load
from core.manifest import Manifest
from core.pipeline import Pipeline
from core.provenance import provenance
from core.schema import Experiment
from eval.evaluator import Outcome, evaluate
from eval.overlap import overlap
from eval.schema import Overlap


def rows_of(experiment: Experiment) -> Corpus:
    """The split that is judged on, and beside it the training rows where there are any."""
    beside = ("train",) if experiment.data.gives_training else ()
    return load(experiment.data, experiment.seed, splits=(*beside, experiment.evaluation.split))


def shared_rows(experiment: Experiment, corpus: Corpus) -> Overlap | None:
    """What the split shares with the training rows, whoever learnt from them; None where there are none.

    UserError: a text of the split is a training text.
    """
    if not experiment.data.gives_training:
        return None
    rows, training = corpus.splits[experiment.evaluation.split], corpus.splits["train"]
    return overlap(rows, training, corpus.fingerprints["train"], None, corpus.unlabelled)


def judged(experiment: Experiment, pipeline: Pipeline, corpus: Corpus, shared: Overlap | None) -> Outcome:
    """The report on the checkpoint and what it rests on. UserError: NaN scores."""
    named = ((pipeline.described.get("provenance") or {}).get("fingerprints") or {}).get("train")
    if shared and named:
        shared = shared.model_copy(update={"same_training_rows": named == shared.training_fingerprint})
    made_of = provenance(resolved(experiment), experiment.seed, corpus.fingerprints)
    # By these an export, `eval.options` and `export.quote` know a report on what a folder answers.
    made_of["files"] = Manifest(pipeline.folder, pipeline.described).hashes
    return evaluate(
        pipeline,
        corpus.splits[experiment.evaluation.split],
        experiment.evaluation,
        synthetic=corpus.synthetic,
        provenance=made_of,
        seed=experiment.seed,
        overlap=shared,
    )
