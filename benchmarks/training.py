"""Our student training against sentence-transformers' trainer with BF16 on, and against its FP32 default."""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks.command import declaration
from core import cli
from core.config import load
from core.errors import UserError
from core.schema import Experiment

if TYPE_CHECKING:  # imported inside the functions, so that --help does not wait for the libraries
    from benchmarks.page import Race
    from benchmarks.subjects import Subjects
    from benchmarks.training_task import Task

OURS, THEIRS, THEIRS_FP32 = "ours", "theirs, bf16=True", "theirs, FP32 (default)"
TARGETS = {THEIRS: 1.3, THEIRS_FP32: 4.0}  # of the roadmap


def work(arguments: argparse.Namespace) -> int:
    """Make the models, train on each side in turn, print, write."""
    experiment = load(arguments.config, arguments.overrides)
    if experiment.student.training.gradient_accumulation_steps > 1:
        raise UserError(
            "the two trainers are compared step by step: set student.training.gradient_accumulation_steps=1"
        )
    from benchmarks.page import show_race, write

    race = measure(experiment, arguments.texts, arguments.steps, arguments.rounds)
    show_race(race)
    if arguments.output:
        print(write(race, "training", arguments.output))
    return 0 if race.met else 1


def measure(experiment: Experiment, texts: int, steps: int, rounds: int) -> Race:
    """The race of three: ours in the precision that the configuration gives, theirs in BF16 and in FP32."""
    from benchmarks.page import Race, made_of, stamp
    from benchmarks.rounds import in_turn, ratio
    from benchmarks.subjects import make, quiet
    from benchmarks.training_sides import ours, theirs
    from benchmarks.training_task import in_own_process
    from core.rows import fingerprint

    quiet()
    with TemporaryDirectory() as name:
        subjects = make(experiment, texts, Path(name))
        task = task_of(experiment, subjects, steps, Path(name))
        sides, noise = in_turn(
            {
                OURS: partial(in_own_process, ours, task),
                THEIRS: partial(in_own_process, theirs, with_precision(task, "bf16")),
                THEIRS_FP32: partial(in_own_process, theirs, with_precision(task, "fp32")),
            },
            rounds,
        )
    batch = experiment.student.training.per_device_train_batch_size
    did = (
        f"One epoch of {steps} steps of {batch} texts ({len(subjects.rows):,} distinct ones), at most"
        f" {experiment.student.max_length} tokens long, 1 - cosine to the teacher's embedding;"
        " theirs: SentenceTransformerTrainer with EmbedDistillLoss."
    )
    return Race(
        benchmark="training",
        did=did,
        synthetic=stamp(experiment),
        sides=sides,
        ratios=tuple(ratio(sides[0], side, TARGETS[side.name]) for side in sides[1:]),
        noise=noise,
        provenance=made_of(experiment, {"texts": fingerprint(subjects.rows)}),
    )


def task_of(experiment: Experiment, subjects: Subjects, steps: int, folder: Path) -> Task:
    """The texts as often as the steps take them, with the teacher's embedding of each."""
    import numpy as np

    from benchmarks.training_task import Task
    from distill.targets import cache_targets
    from distill.teachers import open_teacher

    training = experiment.student.training
    teacher, texts = open_teacher(subjects.teacher), subjects.rows.texts
    cache = cache_targets(teacher, texts, folder / "cache", (), experiment.targets.tokens_per_batch)
    chosen = np.arange(steps * training.per_device_train_batch_size) % len(texts)
    once = training.model_copy(update={"num_train_epochs": 1.0, "evaluations_per_epoch": 1, "ema_decay": 0.0})
    return Task(subjects.rows.take(chosen), cache.embeddings(texts)[chosen], subjects.student, once, experiment.seed)


def with_precision(task: Task, precision: str) -> Task:
    return replace(task, training=task.training.model_copy(update={"precision": precision}))


def main() -> None:
    """The command line."""
    cli.run_on_files(
        work,
        module="benchmarks.training",
        purpose=(
            "Train the experiment's student for one epoch on the teacher's embeddings: with the trainer of"
            " distill.train, with sentence-transformers' SentenceTransformerTrainer and EmbedDistillLoss with bf16 on,"
            " and with the same at its FP32 default. Same student, texts, targets, batches, steps and lengths; in turn,"
            " each in a process of its own; validation and saving outside the clock. Wants a quiet machine."
        ),
        declare=declaration(
            {
                "texts": (64, 3200, "distinct texts, drawn from data.train; repeated where the steps need more"),
                "steps": (2, 100, "optimiser steps of each training"),
                "rounds": (2, 5, "repetitions of each side"),
            }
        ),
        examples=[
            "python -m benchmarks.training --config configs/threats.yaml",
            "python -m benchmarks.training --config configs/threats.yaml --steps 200 student.max_length=256",
        ],
        statuses={0: "both targets are met", 1: "a target is missed or undecided"},
    )


if __name__ == "__main__":
    main()
