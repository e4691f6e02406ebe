"""The tokenizer's files of a serving folder: the checkpoint's, tokenizer.json without what only a person needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.pretrained import copy_tokenizer


def write(source: Path, folder: Path, changes: Mapping[str, Any] | None = None) -> None:
    """Copies the files that are there; tokenizer.json without the spaces between its entries: a third less.

    Every consumer parses it, so all of them read the same. changes: entries of it to replace. UserError: `source` has
    no tokenizer.json.
    """
    copy_tokenizer(source, folder)
    path = folder / "tokenizer.json"
    rules = json.loads(path.read_text(encoding="utf-8")) | (changes or {})
    path.write_text(json.dumps(rules, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
