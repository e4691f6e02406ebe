"""A script of ours run on texts by the interpreter of another environment."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from core.errors import UserError


@contextmanager
def answers(
    python: Path, script: Path, folder: Path, texts: Sequence[str], task: str, environment: Mapping[str, str] = {}
) -> Iterator[Path]:
    """The folder, thrown away afterwards, into which `script FOLDER TEXTS ANSWERS` has written; TEXTS: a JSON list.

    UserError with its last word where it failed at its `task`, such as "ask the consumer of …", or no such interpreter.
    """
    if not python.is_file():
        raise UserError(f"there is no interpreter at {python}; give that of an environment with the package in it")
    known = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | dict(environment)
    with TemporaryDirectory() as scratch:
        asked, written = Path(scratch) / "texts.json", Path(scratch) / "answers"
        asked.write_text(json.dumps(list(texts)), encoding="utf-8")
        written.mkdir()
        command = [python.absolute(), script, folder.resolve(), asked, written]
        done = subprocess.run(list(map(str, command)), env=known, capture_output=True, text=True, cwd=scratch)
        if done.returncode or not any(written.iterdir()):
            last = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()[-1]
            raise UserError(f"{python} could not {task}: {last}")
        yield written
