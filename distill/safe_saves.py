"""Step checkpoints that count only when whole: sealed as the last act of a save, verified before a resume."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from core.errors import UserError
from core.folders import atomic_write
from core.manifest import file_hash

SEAL = "whole.json"
REFUSED = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}  # the file system takes no more


def step_checkpoint(workspace: Path, step: int) -> Path:
    """The folder in which the Trainer saves `step`."""
    return workspace / f"{PREFIX_CHECKPOINT_DIR}-{step}"


def steps_saved(workspace: Path) -> list[int]:
    """The steps of all step checkpoints, whole or not, the last first."""
    names = [path.name.partition("-")[2] for path in workspace.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if path.is_dir()]
    return sorted((int(name) for name in names if name.isdigit()), reverse=True)


def steps_sealed(workspace: Path) -> list[int]:
    """Of these the ones whose save was finished."""
    return [step for step in steps_saved(workspace) if (step_checkpoint(workspace, step) / SEAL).is_file()]


def read_state(folder: Path) -> TrainerState:
    """The Trainer's state as a step checkpoint holds it."""
    return TrainerState.load_from_json(str(folder / TRAINER_STATE_NAME))


def seal(folder: Path) -> None:
    """Writes down size and SHA-256 of every file, once all of them have reached the disk: from now on it is whole."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != SEAL:
            with path.open("rb") as stream:
                os.fsync(stream.fileno())  # a power cut must not leave a seal on files that were never written
            files[str(path.relative_to(folder))] = {"bytes": path.stat().st_size, "sha256": file_hash(path)}
    atomic_write(folder / SEAL, json.dumps(files, indent=2) + "\n")


def fault(folder: Path) -> str | None:
    """Why a step checkpoint is not whole; None: it is."""
    try:
        files = json.loads((folder / SEAL).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return f"it has no {SEAL}, so its save was never finished"
    except ValueError:
        return f"{SEAL} is damaged"
    for name, sealed in files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if (size := path.stat().st_size) != sealed["bytes"]:
            return f"{name} has {size:,} bytes, {sealed['bytes']:,} were saved"
        if file_hash(path) != sealed["sha256"]:
            return f"{name} is not what was saved"
    return None


def newest_whole(workspace: Path) -> tuple[Path | None, list[str]]:
    """The step checkpoint to go on from, and a line for each newer one, which is set aside under another name.

    A training ends with the weights of its best step, so that step's checkpoint must be whole as well.
    """
    lines: list[str] = []
    for step in steps_saved(workspace):
        folder = step_checkpoint(workspace, step)
        wrong = fault(folder)
        if wrong is None:
            best = step_checkpoint(workspace, read_state(folder).best_global_step or step)
            lost = fault(best)
            if lost is None:
                return folder, lines
            wrong = f"it needs the best one so far, {best.name}, but {lost}"
        aside = folder.with_name(f"set-aside-{folder.name}")
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
        lines.append(f"{folder} cannot be resumed ({wrong}): set aside as {aside.name}, to be deleted at will")
    return None, lines


def ended(folder: Path) -> bool:
    """Whether this step checkpoint is the last of its training, by number of steps or by early stopping."""
    state = json.loads((folder / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    return bool(state["stateful_callbacks"]["TrainerControl"]["args"]["should_training_stop"])


class SealOnSave(TrainerCallback):
    """Seals each step checkpoint, and only then deletes what neither it nor the one before it needs.

    The Trainer's own rotation (`save_total_limit`) deletes before a save is complete, so it stays off. Comes after
    every callback that asks for a save or writes into a step checkpoint.
    """

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if control.should_save:  # the Trainer does not save the losses that it has not logged yet
            control.should_log = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if args.distributed_state is not None:
            args.distributed_state.wait_for_everyone()  # each process saves its random state
        if args.should_save:
            workspace = Path(str(args.output_dir))
            seal(step_checkpoint(workspace, state.global_step))
            rotate(workspace, state.global_step)


def rotate(workspace: Path, newest: int) -> None:
    """Deletes all step checkpoints but the sealed one of step `newest`, the one before it and the best of each."""
    sealed = [step for step in steps_sealed(workspace) if step <= newest][:2]
    needed = {*sealed, *(read_state(step_checkpoint(workspace, step)).best_global_step for step in sealed)}
    for step in set(steps_saved(workspace)) - needed:
        folder = step_checkpoint(workspace, step)
        (folder / SEAL).unlink(missing_ok=True)  # first, so that half a folder is never taken for a whole one
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def full_disk_explained(workspace: Path) -> Iterator[None]:
    """Turns the several exceptions that a full disk raises into one UserError; all others pass."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = refusal(error)
        if reason is None:
            raise
        free = shutil.disk_usage(workspace).free / 1e6
        remedy = "make room, then --resume begins this stage again"
        if whole := steps_sealed(workspace):
            last = step_checkpoint(workspace, whole[0])
            size = sum(path.stat().st_size for path in last.iterdir()) / 1e6
            remedy = f"make room for four step checkpoints of {size:,.0f} MB, then --resume goes on from {last.name}"
        raise UserError(f"{workspace} takes no more ({reason}; {free:,.0f} MB free there): {remedy}") from error


def refusal(error: Exception) -> str | None:
    """In what words the file system refused to take more, if that is what the error says."""
    match error:
        case OSError():
            return os.strerror(error.errno) if error.errno in REFUSED else None
        case SafetensorError():
            return next((os.strerror(number) for number in REFUSED if f"(os error {number})" in str(error)), None)
        case _:  # torch.save has only this to say
            torn = "inline_container" in str(error) or "PytorchStreamWriter failed" in str(error)
            return "torch could not write a file to its end" if torn else None
