"""A command run to its end, and the most memory that it and the processes it started held."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence

import psutil

from eval.schema import Value

EVERY = 0.5  # seconds between two looks at all processes
UNIT = 1 if sys.platform == "darwin" else 1024  # bytes in a unit of ru_maxrss


class Watched(Value):
    """What a command held, GB (10^9 bytes), and how it ended."""

    largest_process_gb: float
    """Peak resident memory of that process which held most, as the kernel keeps it (getrusage)."""
    together_gb: float
    """Most that all its processes held at one moment, shared pages counted once; looked at twice a second."""
    seconds: float
    status: int


def watch(command: Sequence[str]) -> Watched:
    """Runs the command without its standard output.

    A peak survives exec, so what calls this must itself be small.
    """
    start, together = time.perf_counter(), 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as child:
        while True:
            ended, status, usage = os.wait4(child.pid, os.WNOHANG)
            if ended:
                child.returncode = os.waitstatus_to_exitcode(status)
                break
            together = max(together, _held(child.pid))
            time.sleep(EVERY)
    largest = usage.ru_maxrss * UNIT
    return Watched(
        largest_process_gb=largest / 1e9,
        together_gb=max(together, largest) / 1e9,
        seconds=time.perf_counter() - start,
        status=child.returncode,
    )


def _held(process: int) -> int:
    """Bytes that a process and all below it hold now; 0 where it has ended."""
    try:
        whole = psutil.Process(process)
        return sum(_bytes_of(part) for part in (whole, *whole.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0


def _bytes_of(process: psutil.Process) -> int:
    try:
        found = process.memory_full_info()
    except psutil.Error:  # it ended meanwhile
        return 0
    return int(getattr(found, "pss", found.rss))  # Linux alone knows a process's share of what it shares
