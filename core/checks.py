"""Which raw rows can be used: checks of single rows, and of texts that occur more than once."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from core.errors import UserError
from core.faults import DataFaults, Fault
from core.read import Record
from core.rows import normalise, text_hash, well_formed
from core.schema import Columns, Data

T = TypeVar("T")
_LABELS = {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}


class Row(NamedTuple):
    """One usable row."""

    text: str
    label: int
    family: str
    subfamily: str
    group: str
    source: str
    key: str  # hash of the normalised text: equal keys are the same text
    location: str

    @property
    def classes(self) -> tuple[int, str, str]:
        """Everything that a text may have only one of."""
        return self.label, self.family, self.subfamily


def check_rows(records: Iterable[Record], split: str, data: Data, columns: Columns, faults: DataFaults) -> list[Row]:
    """The usable rows of one split; the others go to `faults`. UserError where a whole file lacks a column."""
    roles = columns.model_dump(exclude={"source_until"}, exclude_none=True)
    return usable(records, split, lambda record, raw: _check(record, raw, data, columns), roles, faults)


def usable(
    records: Iterable[Record],
    split: str,
    check: Callable[[Record, Mapping[str, object]], T | Fault],
    roles: Mapping[str, str],
    faults: DataFaults,
) -> list[T]:
    """What `check` makes of the records of one split; its faults and the readers' go to `faults`.

    roles: the columns that every file must have, by their key in `data.columns`; UserError where one lacks any.
    """
    found: list[T] = []
    seen: dict[str, dict[str, None]] = {}  # file -> its columns, in order
    for record in records:
        if not isinstance(record.value, Fault):
            seen.setdefault(record.location.rpartition(":")[0], {}).update(dict.fromkeys(record.value))
        checked = record.value if isinstance(record.value, Fault) else check(record, record.value)
        if isinstance(checked, Fault):
            faults.add(split, checked.kind, f"{record.location}: {checked.what}")
        else:
            found.append(checked)
    for file, present in seen.items():
        _refuse_missing_columns(file, list(present), roles)
    return found


def _refuse_missing_columns(file: str, present: Sequence[str], roles: Mapping[str, str]) -> None:
    for role, name in roles.items():
        if name not in present:
            by_lower = {column.lower(): column for column in present}
            near = [by_lower[close] for close in difflib.get_close_matches(name.lower(), by_lower, 1)]
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise UserError(
                f"{file} has no column {name!r}, it has: {', '.join(present[:20])}{hint}"
                f" Set data.columns.{role} to the name of the column that holds it"
            )


def check_text(raw: Mapping[str, object], data: Data, columns: Columns) -> tuple[str, str] | Fault:
    """The text of a raw row and the hash of its normalised form, or what is wrong with it."""
    text = raw.get(columns.text)
    if not isinstance(text, str):
        found = "missing" if text is None else f"of type {type(text).__name__}"
        return Fault("text is not a string", f"{columns.text} is {found}, not a string")
    if len(text) > data.max_characters:
        return Fault("over-long text", f"{len(text)} characters, data.max_characters is {data.max_characters}")
    text = well_formed(text)
    normalised = normalise(text)
    if not normalised:
        return Fault("empty text", f"{columns.text} is empty")
    return text, text_hash(normalised)


def source_of(record: Record, raw: Mapping[str, object], columns: Columns) -> str:
    """Where a row came from: as its column says, cut where the configuration says, else its file's name."""
    source = _name(raw.get(columns.source)) if columns.source is not None else ""
    if columns.source_until is not None:
        source = source.partition(columns.source_until)[0].strip()
    return source or record.origin


def _check(record: Record, raw: Mapping[str, object], data: Data, columns: Columns) -> Row | Fault:
    checked = check_text(raw, data, columns)
    if isinstance(checked, Fault):
        return checked
    text, key = checked
    value = raw.get(columns.label)
    label = _label(value, data.label_map)
    if label is None:
        if not _name(value):
            return Fault("no label", f"{columns.label} is empty")
        shown = repr(str(value)[:30])
        return Fault("unknown label", f"{columns.label} is {shown}, neither 0 nor 1: give data.label_map an entry")
    family, subfamily = _name(raw.get(columns.family)), _name(raw.get(columns.subfamily))
    if not family or not subfamily:
        missing = "sub-family" if family else "family"
        return Fault(f"no {missing}", f"{columns.subfamily if family else columns.family} is empty")
    # Without a group column each text is its own group.
    group = f"text:{key[:24]}" if columns.group is None else _name(raw.get(columns.group))
    if not group:
        return Fault("no group", f"{columns.group} is empty")
    return Row(text, label, family, subfamily, group, source_of(record, raw, columns), key, record.location)


def _label(value: object, label_map: Mapping[str, int]) -> int | None:
    # The map comes first: who writes `"0": 1` into it means it.
    mapped = label_map.get(str(value))
    return _LABELS.get(str(value).strip().lower()) if mapped is None else mapped


def _name(value: object) -> str:
    """The value as a name, "" where there is none (null, NaN, blank)."""
    return "" if value is None or value != value else str(value).strip()


def without_repeats(rows: Sequence[Row], split: str, faults: DataFaults) -> list[Row]:
    """The first row of every text; texts with two labels, families or sub-families lose all their rows."""
    by_key: dict[str, list[Row]] = {}
    for row in rows:
        by_key.setdefault(row.key, []).append(row)
    kept = []
    for first, *others in by_key.values():
        other = next((row for row in others if row.classes != first.classes), None)
        if other is not None:
            known = f"{first.location} says {first.classes}, {other.location} {other.classes} of the same text"
            faults.add(split, "conflict", known, rows=1 + len(others))
            continue
        kept.append(first)
        for row in others:
            faults.add(split, "duplicate", f"{row.location} repeats {first.location}")
    return kept
