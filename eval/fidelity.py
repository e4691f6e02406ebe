"""Say how much of its teacher a student keeps: figures, decisions, probabilities and embeddings of both, paired."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from core import cli
from core.config import resolved
from core.errors import UserError
from core.schema import Experiment


def work(experiment: Experiment, arguments: argparse.Namespace | None = None) -> int:
    """Open, load, measure, write, print."""
    student, teacher = both(experiment)
    # Imported here so that --help and mistakes in the configuration do not wait for the model libraries.
    from core.data import load
    from core.folders import writable
    from core.pipeline import open_pipeline
    from core.provenance import provenance
    from eval.compare import names
    from eval.comparing.fidelity import fidelity
    from eval.comparing.fidelity_page import print_fidelity, write

    split = experiment.evaluation.split
    called, against = names([student, teacher])
    folder = fidelity_folder(experiment.output, called, against, split)
    writable(folder)
    pipelines = open_pipeline(student), open_pipeline(teacher)
    corpus = load(experiment.data, experiment.seed, splits=(split,))
    found = fidelity(
        *pipelines,
        corpus.splits[split],
        experiment.evaluation,
        names=(called, against),
        synthetic=corpus.synthetic,
        provenance=provenance(resolved(experiment), experiment.seed, corpus.fingerprints),
        seed=experiment.seed,
    )
    paths = write(found, folder)
    print_fidelity(found)
    for path in paths:
        print(path)
    return 0


def both(experiment: Experiment) -> tuple[Path, Path]:
    """The folders of student and teacher. UserError: there is not one of each, or they are the same."""
    if experiment.checkpoint is None:
        raise UserError("there is no student to measure: add checkpoint=FOLDER")
    match experiment.evaluation.peers:
        case ():
            raise UserError("there is no teacher to measure the student against: add evaluation.peers=[FOLDER]")
        case (teacher,):
            if teacher.resolve() == experiment.checkpoint.resolve():
                raise UserError(
                    f"{teacher} is given as student and as teacher: a model keeps all of itself; name its teacher's"
                    " folder in evaluation.peers"
                )
            return experiment.checkpoint, teacher
        case several:
            raise UserError(
                f"evaluation.peers names {len(several)} folders, but a student is measured against one teacher: name"
                " one, and run once for each of them"
            )


def fidelity_folder(output: Path, student: str, teacher: str, split: str) -> Path:
    """Where it is written: output/reports/<student>-against-<teacher>-<split>; long names are cut."""
    names = [name.replace(os.sep, "-")[-90:] for name in (student, teacher)]  # file systems take 255 bytes
    return output / "reports" / f"{names[0]}-against-{names[1]}-{split}"


def main() -> None:
    """The command line."""
    cli.run(
        work,
        module="eval.fidelity",
        purpose=(
            "Say how much of its teacher (evaluation.peers, one folder) a student (checkpoint) keeps on a split: F1,"
            " recall and FPR of both, flips, agreement, probabilities, embeddings, with intervals. Writes fidelity.json"
            " and fidelity.md to <output>/reports/<student>-against-<teacher>-<split>/. Latency is for eval.race."
        ),
        sections=("checkpoint", "output", "seed", "data", "evaluation"),
        needs_checkpoint=True,
        examples=[
            "python -m eval.fidelity --config configs/quickstart.yaml checkpoint=artifacts/quickstart/student"
            " 'evaluation.peers=[artifacts/quickstart/teacher]'",
        ],
    )


if __name__ == "__main__":
    main()
