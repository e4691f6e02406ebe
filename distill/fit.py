"""One training: optimiser, arguments, callbacks and validation metrics around the DistillationTrainer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer import SAFE_WEIGHTS_NAME

from core.folders import atomic_write
from core.precision import bf16_training
from core.schema import Heads, Losses, Training
from distill import distributed
from distill.allocator import keep_freed_memory
from distill.arguments import optimizer, trainer_arguments
from distill.average import Averaged, AverageEveryStep
from distill.callbacks import Judge, ReportOnSave, StopOnInterrupt, StopTogether
from distill.classifier import SentenceClassifier
from distill.safe_saves import SealOnSave, ended, full_disk_explained, newest_whole, read_state, step_checkpoint
from distill.trainer import DistillationTrainer
from distill.training_set import TrainingSet, collate
from eval.metrics import auroc, confusion
from eval.operating_point import threshold


def fit(
    model: SentenceClassifier,
    train_set: TrainingSet,
    validation_set: TrainingSet,
    config: Losses,
    training: Training,
    heads: Heads,
    folder: Path,
    seed: int,
    judge: Judge,
    resume: bool,
    callbacks: Sequence[TrainerCallback] = (),
    score_learning_rate: float | None = None,
) -> float:
    """Trains `model` in place to its best validation state and returns the epochs it took.

    judge: writes a step checkpoint's report from the validation logits (binary, family, sub-family) and its folder.
    callbacks: what acts on the weights while they are trained, before anything of ours looks at them.
    Raises KeyboardInterrupt after an interruption, once the step's checkpoint is saved.
    """
    keep_freed_memory()
    bf16 = distributed.by_first(lambda: in_bf16(training, folder, resume))
    arguments = trainer_arguments(training, len(train_set.data), folder, seed, bf16)
    distributed.confirm(arguments.world_size)
    stop, report = StopOnInterrupt(), ReportOnSave(judge)
    averaged = Averaged(model, training.ema_decay) if training.ema_decay else None

    def measure(prediction: EvalPrediction) -> dict[str, float]:
        order = np.argsort(np.asarray(prediction.label_ids))  # validation, too, is batched by length
        report.scores = tuple(np.asarray(part)[order] for part in prediction.predictions)
        return validation_metrics(report.scores[0], np.asarray(validation_set.data["binary"]), heads)

    trainer = DistillationTrainer(
        averaged or model,
        arguments,
        data_collator=collate,
        train_dataset=train_set.data,
        eval_dataset=validation_set.data,
        compute_metrics=measure,
        optimizers=(optimizer(model, training, score_learning_rate), None),
        callbacks=[
            *callbacks,
            *([AverageEveryStep(averaged)] if averaged else []),
            EarlyStoppingCallback(training.early_stopping_patience),
            report,
            StopTogether(stop),
            stop,
            SealOnSave(),
        ],
    )
    trainer.config = config
    trainer.pending = []
    trainer.targets = {True: train_set.targets, False: validation_set.targets}
    state = _trained(trainer, folder, resume)
    if stop.interrupted:
        raise KeyboardInterrupt
    if averaged:
        averaged.settle()
    model.cpu()  # what follows (heads, operating point, saving) is small
    return float(state.epoch or 0.0)


def _trained(trainer: DistillationTrainer, folder: Path, resume: bool) -> TrainerState:
    """Trains the trainer's model to its best state, from the newest whole step checkpoint on where `resume` says so."""
    last = where_to_go_on(trainer.args, folder) if resume else None
    if last and ended(last):  # killed after the last save: not one step more
        assert isinstance(trainer.model, torch.nn.Module)
        return load_best(trainer.model, last)
    if distributed.rank():  # not the first one's dropout again
        torch.manual_seed(trainer.args.seed + distributed.rank())
    with full_disk_explained(folder):
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    return trainer.state


def in_bf16(training: Training, folder: Path, resume: bool) -> bool:
    """Whether to train under BF16 autocast; what `auto` finds by timing is noted, or a resume might find otherwise."""
    if training.precision != "auto":
        return training.precision == "bf16"
    note = folder / "precision.txt"
    if not (resume and note.is_file()):
        atomic_write(note, "bf16\n" if bf16_training() else "fp32\n")
    return note.read_text().strip() == "bf16"


def where_to_go_on(arguments: TrainingArguments, folder: Path) -> Path | None:
    """The step checkpoint to resume, if any is whole; says which, and why not a newer one."""
    with arguments.main_process_first(local=False):
        last, lines = newest_whole(folder)
    print(*lines, f"{folder.name}: {f'goes on from {last.name}' if last else 'begins'}", sep="\n", flush=True)
    return last


def load_best(model: torch.nn.Module, last: Path) -> TrainerState:
    """Gives `model` the best weights of the training that ended with the step checkpoint `last`, in place."""
    state = read_state(last)
    best = step_checkpoint(last.parent, state.best_global_step or state.global_step)
    model.load_state_dict(load_file(best / SAFE_WEIGHTS_NAME))
    return state


def validation_metrics(logits: NDArray[np.float32], labels: NDArray[np.int64], heads: Heads) -> dict[str, float]:
    """F1, recall and FPR at the operating point that these rows give, and AUROC, from the attack logit."""
    matrix = confusion(labels, logits >= threshold(logits, labels, heads))
    return {
        "f1": matrix.f1,
        "recall_at_target": matrix.recall,
        "fpr": matrix.false_positive_rate,
        "auroc": auroc(labels, logits),
    }
