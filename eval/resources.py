"""What a checkpoint costs on disk, in memory and in processor time, measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from core.errors import UserError

MOST_TEXTS = 100
ERROR = "error: "


@dataclass(frozen=True)
class Resources:
    """Megabytes are 10^6 bytes; memory and processor are None where only the size was measured."""

    model_size_mb: float
    memory_usage_mb: float | None = None
    cpu_usage_percent: float | None = None


def model_size_mb(folder: Path) -> float:
    """Every byte of every file in the folder and below. UserError: no such folder, or nothing in it."""
    if not folder.is_dir():
        raise UserError(f"no such checkpoint folder: {folder}")
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    if not sizes:
        raise UserError(f"the checkpoint folder {folder} holds no file")
    return sum(sizes) / 1e6


def measure(folder: Path, texts: Sequence[str], threads: int = 1) -> Resources:
    """Open the folder in a fresh process and classify up to 100 texts, evenly picked, one by one.

    memory_usage_mb is that process' peak resident memory, interpreter and libraries included; cpu_usage_percent
    its processor time over the wall time of the calls (100 is one busy core). UserError: it cannot be measured.
    """
    size = model_size_mb(folder)
    if not texts:
        raise UserError("measuring resources needs at least one text")
    count = min(len(texts), MOST_TEXTS)
    picked = [texts[index * len(texts) // count] for index in range(count)]
    done = subprocess.run(
        [sys.executable, "-m", "eval.resources", str(folder.resolve())],
        input=json.dumps({"texts": picked, "threads": threads}),
        capture_output=True, encoding="utf-8",
        cwd=Path(__file__).resolve().parents[1],  # `-m eval.resources` must find this package from anywhere
    )  # fmt: skip
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        reason = last.removeprefix(ERROR) if last.startswith(ERROR) else f"status {done.returncode} {last}".strip()
        raise UserError(f"measuring the resources of {folder} failed: {reason}")
    measured = json.loads(done.stdout.strip().splitlines()[-1])  # a library may have printed lines before ours
    return Resources(size, measured["memory_usage_mb"], measured["cpu_usage_percent"])


def peak_memory_mb() -> float:
    """Peak resident memory of this process; its resident memory now where the system keeps no peak of its own.

    Not getrusage: its peak survives exec, so a child of a large trainer would report the trainer's memory.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        peak_kb = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(peak_kb) * 1024 / 1e6
    except (OSError, StopIteration):
        return psutil.Process().memory_info().rss / 1e6


def _measure_here(folder: Path, texts: Sequence[str], threads: int) -> dict[str, float]:
    from core.pipeline import open_pipeline  # only the measuring process opens models

    pipeline = open_pipeline(folder)
    pipeline.use_threads(threads)
    wall, processor = time.perf_counter(), time.process_time()
    for text in texts:
        pipeline(text)
    processor, wall = time.process_time() - processor, time.perf_counter() - wall
    return {"memory_usage_mb": peak_memory_mb(), "cpu_usage_percent": 100 * processor / wall}


def main(arguments: Sequence[str]) -> int:
    """`python -m eval.resources FOLDER`, with {"texts": […], "threads": n} on stdin; prints one line of JSON."""
    try:
        if len(arguments) != 1:
            raise UserError('usage: python -m eval.resources FOLDER, with {"texts": [...], "threads": 1} on stdin')
        asked = json.load(sys.stdin)
        print(json.dumps(_measure_here(Path(arguments[0]), asked["texts"], asked["threads"])))
    except Exception as error:  # whatever went wrong, the parent passes on one line
        message = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        print(ERROR + " ".join(message.split()), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
