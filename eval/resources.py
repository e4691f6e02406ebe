"""What a checkpoint costs on disk, by what the bytes are for, and in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from core.errors import UserError
from eval.footprint import ERROR
from eval.schema import ColdStart, Resources

MOST_TEXTS = 100
OTHER = "other"
# By the file's path inside the folder or its bare name; the first group that fits takes it, so the raw heads come
# before `*.safetensors`.
GROUPS = {
    "training extras": ("heads.safetensors",),
    "tokenizer": (
        "tokenizer*.json", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "sentencepiece*",
    ),
    "triggers and labels": (
        "keyword_triggers.json", "label_encoders.json", "label_config.json", "taxonomy.json", "attack_clusters*",
        "first_layer.json",
    ),
    "heads": ("classifier_*.onnx*",),
    "documentation and manifest": ("manifest.*", "model_metadata.json", "*.md", "LICENSE*", "NOTICE*"),
    "encoder": (
        "embeddings*.onnx*", "model*.onnx*", "*.safetensors", "config.json", "modules.json", "?_*/*",
        "sentence_bert_config.json", "config_sentence_transformers.json",
    ),
}  # fmt: skip


def bytes_by_group(folder: Path) -> dict[str, int]:
    """Every byte of every file in the folder and below, hidden ones and the manifest too, by what it is for.

    All groups are named, empty ones too. UserError: no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise UserError(f"no such checkpoint folder: {folder}")
    sizes = dict.fromkeys((*GROUPS, OTHER), 0)
    files = [path for path in folder.rglob("*") if path.is_file()]
    if not files:
        raise UserError(f"the checkpoint folder {folder} holds no file")
    for path in files:
        sizes[group_of(path.relative_to(folder).as_posix())] += path.stat().st_size
    return sizes


def group_of(name: str) -> str:
    """What the file at this path inside a checkpoint folder is for."""
    for group, patterns in GROUPS.items():
        if any(fnmatchcase(part, pattern) for part in (name, name.rpartition("/")[2]) for pattern in patterns):
            return group
    return OTHER


def weigh(folder: Path) -> Resources:
    """The size alone; nothing is opened. UserError: no such folder, or nothing in it."""
    sizes = bytes_by_group(folder)
    return Resources(model_size_mb=sum(sizes.values()) / 1e6, bytes_by_group=sizes)


def measure(folder: Path, texts: Sequence[str], threads: int = 1) -> Resources:
    """Open the folder in a fresh process and classify up to 100 texts, evenly picked, one by one.

    The cold start begins where the interpreter stands ready, and as a rule finds the files in the page cache: who has
    a folder measured has opened it before. UserError: it cannot be measured.
    """
    weighed = weigh(folder)
    if not texts:
        raise UserError("measuring resources needs at least one text")
    count = min(len(texts), MOST_TEXTS)
    picked = [texts[index * len(texts) // count] for index in range(count)]
    done = subprocess.run(
        [sys.executable, "-m", "eval.footprint", str(folder.resolve())],
        input=json.dumps({"texts": picked, "threads": threads}),
        capture_output=True, encoding="utf-8",
        cwd=Path(__file__).resolve().parents[1],  # `-m eval.footprint` must find this package from anywhere
    )  # fmt: skip
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        reason = last.removeprefix(ERROR) if last.startswith(ERROR) else f"status {done.returncode} {last}".strip()
        raise UserError(f"measuring the resources of {folder} failed: {reason}")
    measured = json.loads(done.stdout.strip().splitlines()[-1])  # a library may have printed lines before ours
    cold = {name: measured.pop(name) for name in ("import_s", "open_s", "first_call_s")}
    return Resources(**weighed.model_dump(exclude_unset=True), **measured, cold_start=ColdStart(**cold))
