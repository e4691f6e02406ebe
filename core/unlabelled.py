"""Texts without labels, which a teacher alone judges: checked like labelled rows, each once, none that has a label."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from core.checks import Row, check_text, source_of, usable
from core.errors import UserError
from core.faults import DataFaults, Fault
from core.read import Record, read
from core.rows import text_hash, well_formed
from core.schema import Data
from core.splits import draw

NAME = "unlabelled"


class Text(NamedTuple):
    """One usable text."""

    text: str
    source: str
    key: str  # hash of the normalised text: equal keys are the same text
    location: str


def read_texts(data: Data, faults: DataFaults) -> list[Text]:
    """The usable texts of `data.unlabelled`; what is wrong with the others goes to `faults`.

    Only the text's column must be there; UserError where a whole file lacks it.
    """

    def check(record: Record, raw: Mapping[str, object]) -> Text | Fault:
        checked = check_text(raw, data, data.columns)
        if isinstance(checked, Fault):
            return checked
        text, key = checked
        return Text(text, well_formed(source_of(record, raw, data.columns)), key, record.location)

    records = chain.from_iterable(map(read, data.unlabelled))
    return usable(records, NAME, check, {"text": data.columns.text}, faults)


def without_known(texts: Sequence[Text], labelled: Mapping[str, Sequence[Row]], faults: DataFaults) -> list[Text]:
    """The first of every text that no row of the splits `labelled` holds; `faults` counts the others.

    Raises:
        UserError: none is left.
    """
    known = {row.key: (split, row.location) for split, rows in labelled.items() for row in rows}
    kept: dict[str, Text] = {}
    for text in texts:
        if text.key in known:
            split, location = known[text.key]
            faults.add(NAME, f"in {split}", f"{text.location} has the text of {location} ({split})")
        elif text.key in kept:
            faults.add(NAME, "duplicate", f"{text.location} repeats {kept[text.key].location}")
        else:
            kept[text.key] = text
    if not kept:
        raise UserError(
            f"no unlabelled text is left: all of {len(texts)} usable ones stand in {' or '.join(labelled)};"
            " give others or leave data.unlabelled out"
        )
    return list(kept.values())


def drawn(texts: Sequence[Text], max_rows: int | None, seed: int) -> list[Text]:
    """At most `max_rows` of the texts, drawn with the seed, in their order."""
    stream = (seed, *NAME.encode())
    return [texts[i] for i in draw(np.zeros(len(texts)), len(texts) if max_rows is None else max_rows, stream)]


def fingerprint_of_texts(texts: Sequence[str]) -> str:
    """SHA-256 over all texts, whatever their order."""
    return hashlib.sha256("\n".join(sorted(map(text_hash, texts))).encode()).hexdigest()
