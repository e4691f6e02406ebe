"""What the trainings share at their ends: the folder and the rows at the beginning, the verdicts at the end."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from core.config import resolved, write_resolved
from core.errors import UserError
from core.folders import writable
from core.provenance import provenance
from core.schema import Experiment
from distill import distributed
from distill.fit_heads import refuse_unfitted

if TYPE_CHECKING:
    from distill.experiment_run import Run

RESOLVED = "config.yaml"
FLAGS = {
    "resume": "go on with an interrupted run: finished stages are kept, training continues where it was saved",
    "overwrite": "delete what an earlier run left in the output folder and start again",
}


def begin(experiment: Experiment, arguments: argparse.Namespace, parts: Sequence[str]) -> Run:
    """Joins the processes, makes the output folder ready and loads the rows.

    parts: what this entry point writes below `output`. UserError: an earlier run stands there, a test set is asked
    for, or heads that no training fits.
    """
    refuse_unfitted(experiment.heads.kind, "training")
    if experiment.evaluation.split != "validation":
        raise UserError(
            f"training is judged on validation, not on {experiment.evaluation.split}: leave evaluation.split out here"
            f" and read that set afterwards with eval.run … evaluation.split={experiment.evaluation.split}"
        )
    distributed.promised()  # a launcher that fell back to one process is refused before anything is overwritten
    if os.environ.get("RANK", "0") == "0":  # the others meet it in `begin`
        prepare(experiment.output, (RESOLVED, "training", "reports", *parts), arguments.resume, arguments.overwrite)
    distributed.begin()

    # Imported here so that --help and refusals do not wait for the model libraries.
    from core.data import load
    from core.rows import Taxonomy
    from distill.experiment_run import Run

    distributed.by_first(lambda: write_resolved(experiment, experiment.output / RESOLVED))
    corpus = load(experiment.data, experiment.seed)
    print(corpus.describe(), flush=True)
    made_of = provenance(resolved(experiment), experiment.seed, corpus.fingerprints)
    return Run(experiment, corpus, Taxonomy.of(corpus.splits["train"]), made_of, arguments.resume)


def prepare(output: Path, parts: Sequence[str], resume: bool, overwrite: bool) -> None:
    """An output folder to work in; refuses to write over an earlier run unless told what to do with it."""
    writable(output)
    earlier = [name for name in parts if (output / name).exists()]
    if overwrite:
        for name in earlier:
            part = output / name
            shutil.rmtree(part) if part.is_dir() else part.unlink()
    elif earlier and not resume:
        raise UserError(
            f"{output} already holds a run ({', '.join(earlier)}): --resume goes on with it, --overwrite starts again,"
            " output=FOLDER writes elsewhere"
        )


def call(module: str, config: Path, checkpoint: Path, fine: Sequence[int] = (0,)) -> None:
    """Runs another entry point in a process of its own: clean memory and clock, and a command users can repeat."""
    command = [sys.executable, "-m", module, "--config", str(config), f"checkpoint={checkpoint}"]
    print("$", " ".join(["python", *command[1:]]), flush=True)
    status = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if status.returncode not in fine:
        raise UserError(f"{module} failed on {checkpoint} (exit status {status.returncode}); its message stands above")
    if module.startswith("export"):
        print(status.stdout, end="", flush=True)


def judge(experiment: Experiment, folders: Sequence[Path]) -> None:
    """A validation report for each folder, and the table of them all."""
    # Imported here so that --help and mistakes in the configuration do not wait for the libraries.
    from eval.report import print_comparison, read
    from eval.run import report_folder

    for folder in folders:
        call("eval.run", experiment.output / RESOLVED, folder, fine=(0, 1, 3))
    split = experiment.evaluation.split
    print_comparison({folder.name: read(report_folder(experiment.output, folder, split)) for folder in folders})
    print(f"reports: {experiment.output / 'reports'}\ntable:   {experiment.output / f'comparison-{split}.md'}")
