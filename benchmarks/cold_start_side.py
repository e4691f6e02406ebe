"""One cold start: a fresh process opens a serving folder, classifies one text and says what that took."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

# Nothing else is imported up here: what this module brings along would be counted as the model's.


def measure_here(folder: Path, text: str) -> dict[str, object]:
    """Seconds of wall clock and of processor by part, MB held, and the packages that are loaded in the end."""
    clocks = [(time.perf_counter(), time.process_time())]
    from core.pipeline import open_pipeline

    clocks.append((time.perf_counter(), time.process_time()))
    guard = open_pipeline(folder)
    guard.use_threads(1)
    clocks.append((time.perf_counter(), time.process_time()))
    guard(text)
    clocks.append((time.perf_counter(), time.process_time()))
    from eval.footprint import memory_mb  # last, so that it is not counted

    packages = {name.partition(".")[0] for name in sys.modules if not name.startswith("_")}
    wall, processor = zip(*clocks, strict=True)
    return {
        "wall": [wall[place + 1] - wall[place] for place in range(3)],
        "processor": [processor[0], *(processor[place + 1] - processor[place] for place in range(3))],
        "peak_mb": memory_mb("VmHWM"),
        "steady_mb": memory_mb("VmRSS"),
        "packages": sorted(packages - sys.stdlib_module_names - {"benchmarks", "core", "eval"}),
    }


if __name__ == "__main__":
    print(json.dumps(measure_here(Path(sys.argv[1]), sys.argv[2])))
