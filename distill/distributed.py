"""More than one process: what torch.distributed needs to be told, and what only the first process may do.

The launcher (torchrun, accelerate launch) starts the processes; transformers' Trainer averages their gradients. Here
stand only the sentences between: with one process each function does nothing but its plain work.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from core.errors import UserError

if TYPE_CHECKING:  # imported inside the functions, so that refusals do not wait for the library
    from torch import Tensor

T = TypeVar("T")

PATIENCE = timedelta(days=1)  # the others wait while the first process judges and exports


def promised() -> int:
    """The number of processes that the launcher says it has started; UserError where it fell back to one."""
    if "WORLD_SIZE" in os.environ:
        return int(os.environ["WORLD_SIZE"])
    if "MASTER_ADDR" in os.environ:  # accelerate launch without a GPU prepares for several and starts one
        raise UserError(
            "the launcher set MASTER_ADDR but no WORLD_SIZE, so it promised several processes and started one:"
            " on CPUs launch with torchrun --nproc_per_node N -m distill.train …, or unset MASTER_ADDR"
        )
    return 1


def begin() -> None:
    """Joins the processes of this launch, and silences the standard output of all but the first."""
    if promised() == 1:
        return
    import torch
    import torch.distributed as group

    if not group.is_initialized():
        if torch.cuda.is_available():
            place, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
            if place >= gpus:
                raise UserError(
                    f"the launcher started more processes on this machine than it has GPUs ({gpus}): start one for each"
                    " with --nproc_per_node, or train on the CPUs with CUDA_VISIBLE_DEVICES=''"
                )
            torch.cuda.set_device(place)
        group.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    confirm(group.get_world_size())
    if rank():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # until the process ends


def confirm(found: int) -> None:
    """Raises UserError unless as many processes work together as the launcher promised."""
    if found != promised():
        raise UserError(
            f"the launcher promised {promised()} processes (WORLD_SIZE), but this one works with {found}: each would"
            " train alone and overwrite the others' files; launch distill.train with torchrun, or unset WORLD_SIZE"
        )


def end() -> None:
    """Waits for the others and leaves them."""
    if size() > 1:
        import torch.distributed as group

        group.barrier()
        group.destroy_process_group()


def size() -> int:
    """The number of processes that work together."""
    if "torch" not in sys.modules:
        return 1
    import torch.distributed as group

    return group.get_world_size() if group.is_available() and group.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    if size() == 1:
        return 0
    import torch.distributed as group

    return group.get_rank()


def wait() -> None:
    """Until every process has come here."""
    if size() > 1:
        import torch.distributed as group

        group.barrier()


def by_first(work: Callable[[], T]) -> T:
    """What `work` returns in the first process, in all; the others wait and do not run it."""
    if size() == 1:
        return work()
    import torch.distributed as group

    result = [work() if rank() == 0 else None]
    group.broadcast_object_list(result, src=0)
    return result[0]  # type: ignore[return-value]


def in_turn(work: Callable[[], T]) -> T:
    """`work` in one process after the other, for work that writes the same files in each."""
    results = []
    for turn in range(size()):
        if turn == rank():
            results.append(work())
        wait()
    return results[0]


def join(part: Tensor) -> Tensor:
    """The rows of all processes one after the other, with gradients: (rows, …) -> (processes x rows, …).

    Where every process computes the same loss from them, the backward pass sums as many equal gradients as there are
    processes, which the mean over processes then undoes: each weight gets the gradient of one process' whole batch.
    """
    if size() == 1:
        return part
    import torch
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(part))


def means(values: Mapping[str, float]) -> dict[str, float]:
    """The mean of each value over the processes, all of which hold the same names."""
    if size() == 1 or not values:
        return dict(values)
    import torch

    from core.precision import accelerator

    parts = join(torch.tensor([list(values.values())], dtype=torch.float64, device=accelerator()))
    return dict(zip(values, parts.mean(0).tolist(), strict=True))


def any_of(said: bool) -> bool:
    """Whether any process says so."""
    return means({"": float(said)})[""] > 0
