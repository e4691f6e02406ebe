"""Measure a model behind a layer that decides first, its own keywords or a smaller model, against the model alone."""

from __future__ import annotations

import argparse
from pathlib import Path

from core import cli
from core.config import resolved
from core.errors import UserError
from core.schema import Experiment


def work(experiment: Experiment, arguments: argparse.Namespace | None = None) -> int:
    """Open, load, measure, write, print."""
    if experiment.checkpoint is None:
        raise UserError("there is no model to measure: add checkpoint=FOLDER")
    peers = experiment.evaluation.peers
    if len(peers) > 1:
        raise UserError(f"evaluation.peers names {len(peers)} folders, but one model stands before the other: name one")
    # Imported here so that --help and mistakes in the configuration do not wait for the model libraries.
    from core.data import load
    from core.folders import writable
    from core.pipeline import open_pipeline
    from core.provenance import provenance
    from eval.cascading import report
    from eval.cascading.measuring import measure
    from eval.cascading.steps import keyword_trials, model_trials
    from eval.compare import names

    split = experiment.evaluation.split
    folders = [experiment.checkpoint, *peers]
    folder = cascade_folder(
        experiment.output, names(folders) if peers else [experiment.checkpoint.resolve().name], split
    )
    writable(folder)
    model, *before = (open_pipeline(path) for path in folders)
    first = before[0] if before else None
    corpus = load(
        experiment.data, experiment.seed, splits=tuple(dict.fromkeys((split, "validation") if first else (split,)))
    )
    notes = []
    if first:
        trials = model_trials(first, model, corpus.splits["validation"], experiment.cascade)
        if split == "validation":
            notes.append(
                "The limits of the first model were chosen on these very rows: on others it errs a little more."
            )
    else:
        trials = keyword_trials(model)
    found = measure(
        model,
        first,
        trials,
        corpus.splits[split],
        experiment,
        synthetic=corpus.synthetic,
        provenance=provenance(resolved(experiment), experiment.seed, corpus.fingerprints),
        notes=notes,
    )
    paths = report.write(found, folder)
    report.print_cascade(found)
    for path in paths:
        print(path)
    return 0


def cascade_folder(output: Path, names: list[str], split: str) -> Path:
    """Where it is written: output/cascades/<checkpoint>[-behind-<peer>]-<split>; long names are cut."""
    called = [name.replace("/", "-")[-90:] for name in names]  # file systems take 255 bytes
    return output / "cascades" / f"{'-behind-'.join(called)}-{split}"


def main() -> None:
    """The command line."""
    cli.run(
        work,
        module="eval.cascade",
        purpose=(
            "Measure a model behind a layer that decides what it is sure of, at several settings, against the model"
            " alone: share of texts that reach the model, mean and P95 latency, accuracy of the whole with paired"
            " intervals. The layer is the checkpoint's own first layer (distill.fit_triggers), or the one model that"
            " evaluation.peers names; that one is served from Python, with the limits of a setting in cascade.json:"
            " model.served(model.serving, ModelLayer(open_pipeline(PEER), Setting(benign_at, attack_at, misses,"
            " alarms))). The layer's own judgement is timed, too. Writes cascade.json, .md and .html to"
            " <output>/cascades/<checkpoint>-<split>/."
        ),
        sections=("checkpoint", "output", "data", "evaluation", "cascade"),
        needs_checkpoint=True,
        examples=[
            "python -m eval.cascade --config configs/quickstart.yaml checkpoint=artifacts/quickstart/student-guarded",
            "python -m eval.cascade --config configs/threats.yaml checkpoint=artifacts/plain_256/student-int8"
            " 'evaluation.peers=[artifacts/plain_64/student-int8]'",
        ],
    )


if __name__ == "__main__":
    main()
