"""Fine-tune a teacher on the labels, with the student's heads and label losses, and judge it."""

from __future__ import annotations

import argparse
import time

from core import cli
from core.errors import UserError
from core.schema import Experiment
from distill import distributed
from distill.entry import FLAGS, begin, judge

PARTS = ("teacher",)


def work(experiment: Experiment, arguments: argparse.Namespace) -> int:
    """The teacher's checkpoint and its verdict on validation."""
    start = time.perf_counter()
    if experiment.teacher.training is None:
        raise UserError(
            "teacher.training is null, so there is nothing to fine-tune: give it, or judge the checkpoint with eval.run"
        )
    run = begin(experiment, arguments, PARTS)

    # Imported here so that --help and refusals do not wait for the model libraries.
    from distill.stages import make_teacher

    teacher = make_teacher(run)
    first = distributed.rank() == 0
    distributed.end()  # the others leave memory and clock to the one that judges
    if first:
        judge(experiment, [teacher])
        print(f"done in {time.perf_counter() - start:.0f} s")
    return 0


def main() -> None:
    """The command line."""
    cli.run(
        work,
        module="distill.teacher",
        purpose=(
            "Fine-tune the teacher of a configuration, at up to 512 tokens, on the label terms of `losses` (task,"
            " contrastive), and judge it on validation: <output>/teacher. Let it teach with teacher.origin=pretrained"
            " teacher.name_or_path=FOLDER teacher.training=null, alone or as a member of an ensemble, once it beats"
            " plain fine-tuning of the student."
        ),
        sections=("name", "seed", "output", "data", "teacher", "losses", "heads", "evaluation"),
        flags=FLAGS,
        examples=[
            "python -m distill.teacher --config configs/threats.yaml output=artifacts/teacher",
            "python -m distill.teacher --config configs/mpnet.yaml --resume",
        ],
        statuses={0: "done; the table says which targets are met"},
    )


if __name__ == "__main__":
    main()
