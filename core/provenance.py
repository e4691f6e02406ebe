"""Where a result comes from: the machine, the versions, the commit, the configuration and the data."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

PACKAGES = ("torch", "transformers", "onnxruntime", "onnx", "scikit-learn", "numpy", "raxe-distill")
# Instruction sets that change how fast (or whether) INT8, FP16 and BF16 arithmetic runs; the last line is ARM's.
# fmt: off
CPU_FLAGS = frozenset((
    "avx", "avx2", "fma", "f16c", "avx_vnni", "avx_vnni_int8",
    "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_fp16", "avx512_bf16",
    "amx_tile", "amx_int8", "amx_bf16", "amx_fp16",
    "asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve", "sve2",
))
# fmt: on


def timestamp() -> str:
    """Now, UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def hardware() -> dict[str, Any]:
    """This machine: cpu (model name), cores (that this process may use), memory_gb (10^9 bytes), os, cpu_flags."""
    described = _cpuinfo()
    flags = (described.get("flags") or described.get("Features") or "").split()
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return {
        "cpu": described.get("model name") or platform.processor() or platform.machine(),
        "cores": len(affinity(0)) if affinity else os.cpu_count() or 1,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "os": platform.platform(),
        "cpu_flags": sorted(CPU_FLAGS.intersection(flags)),
    }


def _cpuinfo() -> dict[str, str]:
    """The first processor of /proc/cpuinfo; empty where there is no such file."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def versions() -> dict[str, str | None]:
    """Installed versions, read without importing anything; None where a package is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def git_state(code: Path = Path(__file__)) -> dict[str, Any]:
    """Commit of the repository that tracks the file `code`, and whether it differs; both None when none does.

    An untracked file counts as no checkout: a virtual environment inside somebody else's repository must not
    lend that repository's commit to our code.
    """
    folder = code.resolve().parent
    if _git(folder, "ls-files", "--error-unmatch", code.name) is None:
        return {"commit": None, "dirty": None}
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    status = _git(folder, "status", "--porcelain")
    return {"commit": commit, "dirty": None if status is None else bool(status)}


def _git(folder: Path, *arguments: str) -> str | None:
    # Inside a git hook GIT_DIR and its kin are set and would point every command at the hook's repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, env=environment, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def config_hash(experiment_resolved: Mapping[str, Any]) -> str:
    """SHA-256 of the resolved configuration as canonical JSON: the order of its keys makes no difference."""
    canonical = json.dumps(experiment_resolved, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


def provenance(experiment_resolved: Mapping[str, Any], seed: int, fingerprints: Mapping[str, Any]) -> dict[str, Any]:
    """Everything needed to say how a result was made, ready for JSON; `fingerprints` are those of the data."""
    return {
        "timestamp": timestamp(),
        "command": list(sys.argv),
        "seed": seed,
        "config": json.loads(json.dumps(experiment_resolved, default=str)),
        "config_hash": config_hash(experiment_resolved),
        "fingerprints": dict(fingerprints),
        "versions": versions(),
        "git": git_state(),
        "hardware": hardware(),
    }
