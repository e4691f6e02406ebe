"""Which floating-point type runs fastest on this machine, found by timing the product that dominates an encoder."""

from __future__ import annotations

import time
from functools import cache

import torch

FASTER = 1.2  # a type must be so many times as fast before it replaces one that stands earlier in the list


@cache
def seconds(dtype: torch.dtype) -> float:
    """Best time of one 512x768 by 768x3072 product in `dtype`."""
    left, right = torch.ones(512, 768, dtype=dtype), torch.ones(3072, 768, dtype=dtype)
    times = []
    for _ in range(4):  # the first call also sets up the kernel
        start = time.perf_counter()
        torch.nn.functional.linear(left, right)
        times.append(time.perf_counter() - start)
    return min(times)


def fastest(candidates: tuple[torch.dtype, ...]) -> torch.dtype:
    """The first candidate that no later one clearly beats (by `FASTER`)."""
    best = candidates[0]
    for dtype in candidates[1:]:
        if seconds(best) > FASTER * seconds(dtype):
            best = dtype
    return best


def running_dtype(stored: torch.dtype) -> torch.dtype:
    """The type to run weights in: FP32 weights as they are, half-precision ones in what this machine runs fastest."""
    if stored == torch.float32:
        return stored
    other = torch.bfloat16 if stored == torch.float16 else torch.float16
    return fastest((stored, other, torch.float32))


def bf16_training() -> bool:
    """Whether autocast to BF16 is worth it here."""
    return fastest((torch.float32, torch.bfloat16)) == torch.bfloat16
