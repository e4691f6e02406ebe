"""What one timed training is given, a clock on torch's own hooks, and a process of its own to run it in."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks.subjects import quiet
from core import manifest
from core.rows import Rows
from core.schema import Training
from core.tokenizer import TextTokenizer

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Task:
    """What both sides are given: one epoch of the same texts and targets, whole batches."""

    rows: Rows
    embeddings: NDArray[np.float32]  # the teacher's, (texts, dim)
    student: Path
    training: Training
    seed: int

    @property
    def steps(self) -> int:
        return len(self.rows) // self.training.per_device_train_batch_size

    def tokenizer(self) -> TextTokenizer:
        """The student's, cut at its length."""
        return TextTokenizer.open(self.student, manifest.read(self.student).max_length)


@dataclass
class Clock:
    """When batches entered the model and when the optimiser had moved it, in seconds."""

    entered: list[float] = field(default_factory=list)
    moved: list[float] = field(default_factory=list)

    def seconds(self, steps: int) -> float:
        """From the first batch to the last of so many steps; RuntimeError where there were more or fewer."""
        if len(self.moved) != steps:
            raise RuntimeError(f"{len(self.moved)} optimiser steps were taken instead of {steps}")
        return self.moved[-1] - self.entered[0]


@contextmanager
def clocked(model: torch.nn.Module) -> Iterator[Clock]:
    """A clock that runs in anybody's trainer of `model`; validation and saving come after its last step."""
    clock = Clock()
    handles = (
        model.register_forward_pre_hook(lambda *_: clock.entered.append(time.perf_counter())),
        register_optimizer_step_post_hook(lambda *_: clock.moved.append(time.perf_counter())),
    )
    try:
        yield clock
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def silence() -> Iterator[None]:
    """Log lines go nowhere; progress bars, on the standard error, stay."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        yield


def in_own_process(side: Callable[[Task], T], task: Task) -> T:
    """`side(task)` in a fresh interpreter: once asked for, BF16 stays on for all later trainings of a process."""
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=_begin) as pool:
        return pool.submit(side, task).result()


def _begin() -> None:
    """Says nothing of untrained models, and ends with the process that asked, which may be killed."""
    quiet()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
