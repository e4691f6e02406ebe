"""Trainer callbacks: a graceful Ctrl-C in every process, and a validation report beside every saved step checkpoint."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import numpy as np
from numpy.typing import NDArray
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from distill import distributed

Judge = Callable[[tuple[NDArray[np.float32], ...], Path], None]
"""(validation logits of the binary, family and sub-family heads, step checkpoint folder) -> writes its report."""


class StopOnInterrupt(TrainerCallback):
    """Ctrl-C finishes the step, saves a checkpoint and stops; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.interrupted = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        self._before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.interrupted = True
        signal.signal(signal.SIGINT, self._before)
        print("\ninterrupted: finishing this step and saving; Ctrl-C again stops at once", file=sys.stderr)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if self.interrupted:
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if self.interrupted:  # not before, or what is saved would say that the training had come to its end
            control.should_training_stop = True

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._before)


class StopTogether(TrainerCallback):
    """Ctrl-C noticed by one process stops all of them after the same step; comes before the callback it tells."""

    def __init__(self, stop: StopOnInterrupt) -> None:
        self.stop = stop

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        self.stop.interrupted = distributed.any_of(self.stop.interrupted)


class ReportOnSave(TrainerCallback):
    """Every step checkpoint gets the report of its own validation beside its weights.

    The one saved at an interruption, between two validations, gets none rather than an older one.
    """

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.scores: tuple[NDArray[np.float32], ...] | None = None  # of the validation just before the save

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if state.global_step >= state.max_steps:  # the Trainer saves the last step wherever it falls, so judge it too
            control.should_evaluate = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if self.scores is not None and args.should_save:
            self.judge(self.scores, Path(str(args.output_dir)) / f"checkpoint-{state.global_step}")
        self.scores = None
