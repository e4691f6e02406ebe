"""Where the bytes are: of the checkpoint and of the folder that was exported from it, by what they are for."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import onnx

from core import manifest
from core.encoder import GRAPH_PATTERN
from eval.resources import group_of

REST, MANIFEST = "the rest", "manifest"
# What a tensor is for, by its name in a PyTorch checkpoint, in the graph that is written by hand (`layer 0 …`), in a
# traced graph (by the node that reads it) or in one with heads. The first that fits takes it.
TENSORS = {
    "normalisation": r"LayerNorm|^layer \d+ (attention|output) (weight|bias)$|^embeddings (weight|bias)$",
    "word embeddings": r"word.embeddings",
    "positions": r"position_embeddings|^places",
    "attention": r"attention|attn|mixer|^bias (after|before)",
    "feed-forward": r"^layer \d+ (inner|outer|active)|intermediate|output[./]dense|layer\.\d+/dense",
    "heads": r"^(binary|family|subfamily)_",
}
# Of files without tensors of the encoder, by the group that they have in a report.
FILES = {
    "heads": "heads",
    "training extras": "heads",
    "tokenizer": "tokenizer",
    "triggers and labels": "triggers and labels",
}
GROUPS = (*TENSORS, "tokenizer", "triggers and labels", REST, MANIFEST)
Ledger = dict[str, dict[str, int]]
"""By group: bytes `before` and `after`."""


def compare(checkpoint: Path, folder: Path) -> Ledger:
    """The ledger of a folder that was exported from a checkpoint; their manifests count for themselves."""
    before, after = weigh(checkpoint), weigh(folder)
    return {group: {"before": before[group], "after": after[group]} for group in GROUPS}


def weigh(folder: Path) -> dict[str, int]:
    """Bytes in each of `GROUPS`, of every file in the folder and below: their sum is the size of the folder."""
    found = Counter(dict.fromkeys(GROUPS, 0))
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found.update(_of_file(path, path.relative_to(folder).as_posix()))
    return dict(found)


def table(ledger: Ledger) -> str:
    """Aligned lines in MB (10^6 bytes), and their sum."""
    total = {when: sum(sizes[when] for sizes in ledger.values()) for when in ("before", "after")}
    lines = [f"{'MB':20} {'before':>9} {'after':>9}"]
    for group, sizes in [*ledger.items(), ("together", total)]:
        lines.append(f"{group:20} {sizes['before'] / 1e6:9.3f} {sizes['after'] / 1e6:9.3f}")
    return "\n".join(lines)


def _of_file(path: Path, name: str) -> Mapping[str, int]:
    size, kind = path.stat().st_size, FILES.get(group_of(name), REST)
    if name == manifest.NAME:
        return {MANIFEST: size}
    if name == "model.safetensors":
        return _rounded_up(_of_safetensors(path), size)
    if path.match(GRAPH_PATTERN) or (path.suffix == ".onnx" and kind == REST):
        return _rounded_up(_of_graph(onnx.load(path)), size)
    return {kind: size}


def _rounded_up(found: Counter[str], size: int) -> Counter[str]:
    """What a file has beside its tensors is the rest."""
    found[REST] += size - found.total()
    return found


def _of_safetensors(path: Path) -> Counter[str]:
    with path.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    found: Counter[str] = Counter()
    for name, tensor in header.items():
        if name != "__metadata__":
            begin, end = tensor["data_offsets"]
            found[_group(name)] += end - begin
    return found


def _of_graph(model: onnx.ModelProto) -> Counter[str]:
    readers = {name: node.name for node in reversed(model.graph.node) for name in node.input}
    found: Counter[str] = Counter()
    for tensor in model.graph.initializer:
        own = _group(tensor.name)
        found[own if own != REST else _group(readers.get(tensor.name, ""))] += tensor.ByteSize()
    return found


def _group(name: str) -> str:
    return next((group for group, pattern in TENSORS.items() if re.search(pattern, name)), REST)
