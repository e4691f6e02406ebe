"""Time two or more models against each other with their calls interleaved: ratios with intervals."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from core import cli
from core.config import resolved
from core.errors import UserError
from core.schema import Experiment


def work(experiment: Experiment, arguments: argparse.Namespace | None = None) -> int:
    """Open, load, race, write, print."""
    evaluation = experiment.evaluation
    if experiment.checkpoint is None:
        raise UserError("there is no checkpoint to race: add checkpoint=FOLDER")
    if not evaluation.peers:
        raise UserError("a race needs at least two models: add evaluation.peers=[FOLDER, …]")
    # Imported here so that --help and mistakes in the configuration do not wait for the model libraries.
    from core.data import load
    from core.folders import writable
    from core.pipeline import open_pipeline
    from core.provenance import provenance
    from eval.clock.race_report import print_race, write
    from eval.clock.racing import race

    folders = (experiment.checkpoint, *evaluation.peers)
    folder = race_folder(experiment.output, folders, evaluation.split)
    writable(folder)
    pipelines = [open_pipeline(path) for path in folders]
    corpus = load(experiment.data, experiment.seed, splits=(evaluation.split,))
    result = race(
        pipelines,
        corpus.splits[evaluation.split].texts,
        evaluation,
        synthetic=corpus.synthetic,
        provenance=provenance(resolved(experiment), experiment.seed, corpus.fingerprints),
        seed=experiment.seed,
    )
    paths = write(result, folder)
    print_race(result)
    for path in paths:
        print(path)
    return 0


def race_folder(output: Path, folders: Sequence[Path], split: str) -> Path:
    """Where a race is written: output/races/<checkpoint>-against-<peer>[-<peer>…]-<split>.

    Folders of the same name, such as the students of two experiments, go by their parent's name too.
    """
    from eval.compare import against

    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = [f"{folder.resolve().parent.name}-{folder.resolve().name}" for folder in folders]
    return output / "races" / f"{against(names, '-')}-{split}"


def main() -> None:
    """The command line."""
    cli.run(
        work,
        module="eval.race",
        purpose="Time models against each other on the texts of a split, their calls interleaved.",
        sections=("checkpoint", "output", "seed", "data", "evaluation"),
        needs_checkpoint=True,
        examples=[
            "python -m eval.race --config configs/quickstart.yaml checkpoint=artifacts/quickstart/student"
            " 'evaluation.peers=[artifacts/quickstart/student-int8]'",
        ],
    )


if __name__ == "__main__":
    main()
