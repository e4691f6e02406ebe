"""What opening a folder and classifying texts costs a fresh process: memory, processor time, seconds to a decision."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from core.errors import UserError

# Nothing else is imported up here: what this module brings along would be counted as the model's.

ERROR = "error: "


def memory_mb(name: str) -> float:
    """Resident memory of this process, MB: `VmRSS` is that of now, `VmHWM` the peak (now, where none is kept).

    Not getrusage: its peak survives exec, so a child of a large trainer would report the trainer's memory.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith(f"{name}:"))
        return int(kilobytes) * 1024 / 1e6
    except (OSError, StopIteration):
        import psutil  # only where there is no /proc

        return psutil.Process().memory_info().rss / 1e6


def measure_here(folder: Path, texts: Sequence[str], threads: int) -> dict[str, float]:
    """Open the folder and classify the texts (at least one) one by one; the names are those of `eval.schema`.

    A PyTorch folder imports torch when it is opened, so there `open_s` holds that import.
    """
    start = time.perf_counter()
    from core.pipeline import open_pipeline

    imported = time.perf_counter()
    pipeline = open_pipeline(folder)
    pipeline.use_threads(threads)
    opened, processor = time.perf_counter(), time.process_time()
    pipeline(texts[0])
    first = time.perf_counter()
    for text in texts[1:]:
        pipeline(text)
    processor, end = time.process_time() - processor, time.perf_counter()
    return {
        "memory_usage_mb": memory_mb("VmHWM"),
        "steady_memory_mb": memory_mb("VmRSS"),
        "cpu_usage_percent": 100 * processor / (end - opened),
        "import_s": imported - start,
        "open_s": opened - imported,
        "first_call_s": first - opened,
    }


def main(arguments: Sequence[str]) -> int:
    """`python -m eval.footprint FOLDER`, with {"texts": […], "threads": n} on stdin; prints one line of JSON."""
    try:
        if len(arguments) != 1:
            raise UserError('usage: python -m eval.footprint FOLDER, with {"texts": [...], "threads": 1} on stdin')
        asked = json.load(sys.stdin)
        print(json.dumps(measure_here(Path(arguments[0]), asked["texts"], asked["threads"])))
    except Exception as error:  # whatever went wrong, the parent passes on one line
        message = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        print(ERROR + " ".join(message.split()), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
