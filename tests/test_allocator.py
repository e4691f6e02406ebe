"""distill.allocator: a process that frees and takes the same memory again has no page zeroed twice."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from distill import allocator

ROUNDS, MEGABYTES = 8, 48
SCRIPT = f"""
import resource, torch
from distill.allocator import keep_freed_memory
def rounds():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range({ROUNDS}):
        torch.ones({MEGABYTES} * 250_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
before = rounds()
assert keep_freed_memory()
rounds()
print(before, rounds())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc's malloc")
def test_freed_memory_is_taken_again_without_page_faults() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before > ROUNDS
    assert after < 0.3 * before  # once the heap may have to grow


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    assert not allocator.keep_freed_memory()
