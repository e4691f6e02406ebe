"""Which floating-point type runs fastest here, found by timing the product that dominates an encoder where it runs."""

from __future__ import annotations

import time
from functools import cache

import torch

FASTER = 1.2  # a type must be so many times as fast before it replaces one that stands earlier in the list
CPU = torch.device("cpu")  # where every checkpoint is judged and served
ROWS = {"cpu": 512, "cuda": 16384}  # of the timed product; on a GPU fewer would time the launch


def accelerator() -> torch.device:
    """Where trainings and teachers run: this process' GPU if there is one."""
    return torch.device("cuda") if torch.cuda.is_available() else CPU


@cache
def seconds(dtype: torch.dtype, device: torch.device) -> float:
    """Best time of one product of `ROWS` x 768 by 768 x 3072 in `dtype`."""
    left = torch.ones(ROWS[device.type], 768, dtype=dtype, device=device)
    right = torch.ones(3072, 768, dtype=dtype, device=device)
    times = []
    for _ in range(4):  # the first call also sets up the kernel
        _finish(device)
        start = time.perf_counter()
        torch.nn.functional.linear(left, right)
        _finish(device)
        times.append(time.perf_counter() - start)
    return min(times)


def fastest(candidates: tuple[torch.dtype, ...], device: torch.device) -> torch.dtype:
    """The first candidate that no later one clearly beats (by `FASTER`)."""
    best = candidates[0]
    for dtype in candidates[1:]:
        if seconds(best, device) > FASTER * seconds(dtype, device):
            best = dtype
    return best


def running_dtype(stored: torch.dtype, device: torch.device = CPU) -> torch.dtype:
    """The type to run weights in: FP32 weights as they are, half-precision ones in what `device` runs fastest."""
    if stored == torch.float32:
        return stored
    other = torch.bfloat16 if stored == torch.float16 else torch.float16
    return fastest((stored, other, torch.float32), device)


def bf16_training() -> bool:
    """Whether autocast to BF16 is worth it where trainings run."""
    return fastest((torch.float32, torch.bfloat16), accelerator()) == torch.bfloat16


def _finish(device: torch.device) -> None:
    """Waits for what a GPU has been told to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
