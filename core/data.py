"""From the configuration's `data` section to checked, disjoint splits of labelled rows, and texts beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from core.checks import Row, check_rows, without_repeats
from core.errors import UserError
from core.faults import DataFaults
from core.read import Record, read
from core.rows import Rows, fingerprint
from core.schema import Columns, Data
from core.splits import draw, split_by_group, without_leaks
from core.unlabelled import NAME as UNLABELLED
from core.unlabelled import Text, drawn, fingerprint_of_texts, read_texts, without_known

SPLITS = ("train", "validation", "test")
SYNTHETIC_COLUMNS = Columns(group="template", source="source")


@dataclass(frozen=True)
class Corpus:
    """The splits that were asked for, their fingerprints, and what was wrong with the rows that were read."""

    splits: dict[str, Rows]
    fingerprints: dict[str, str]
    synthetic: bool
    faults: DataFaults
    unlabelled: tuple[str, ...] = ()
    """Distinct texts that stand in no split that training reads; empty unless training rows were asked for."""
    unlabelled_sources: tuple[str, ...] = ()
    """Where each of them came from."""

    def describe(self) -> str:
        """Counts of every split and of the rows at fault, a line each."""
        lines = ["synthetic corpus: figures on it say nothing about real traffic"] if self.synthetic else []
        for name, rows in self.splits.items():
            attacks = rows.labels == 1
            families = {family for family, attack in zip(rows.families, attacks, strict=True) if attack}
            subfamilies = {subfamily for subfamily, attack in zip(rows.subfamilies, attacks, strict=True) if attack}
            lines.append(
                f"{name}: {len(rows)} rows, {attacks.sum()} attack ({len(families)} families,"
                f" {len(subfamilies)} sub-families), {(~attacks).sum()} benign, {len(set(rows.groups))} groups,"
                f" fingerprint {self.fingerprints[name][:12]}"
            )
        if self.unlabelled:
            sources, mark = len(set(self.unlabelled_sources)), self.fingerprints[UNLABELLED][:12]
            lines.append(f"unlabelled: {len(self.unlabelled)} texts of {sources} sources, fingerprint {mark}")
        for split, kinds in self.faults.counts.items():
            lines.append(f"{split}, rows left out: " + ", ".join(f"{count} {kind}" for kind, count in kinds.items()))
        return "\n".join(lines)


def load(data: Data, seed: int, splits: Sequence[str] = ("train", "validation")) -> Corpus:
    """The splits asked for, checked; files of `data.test` and `data.extra` are opened only where they are among them.

    Train and validation are read whatever is asked for, so that leaks are looked for each time. A set of
    `data.extra` is read beside any of the three ways to give the splits, the texts of `data.unlabelled` with train.

    Raises:
        UserError: a split that the configuration does not give, a file that cannot be read, and what
            `on_bad_row`, `on_conflict` and `on_leak` refuse.
    """
    pooled = data.synthetic or bool(data.pool)
    given = [name for name in SPLITS if pooled or getattr(data, name)]
    for name in splits:
        if name not in given and name not in data.extra:
            key = name if name in SPLITS else f"extra.{name}"
            known = ", ".join([*given, *data.extra])
            raise UserError(f"the configuration gives no {name} rows, only {known}: add `data.{key}`")
    reading = ["pool"] if pooled else [name for name in given if name != "test" or "test" in splits]
    reading += [name for name in data.extra if name in splits]
    faults = DataFaults()
    rows = {name: _usable(name, data, seed, faults) for name in reading}
    texts = read_texts(data, faults) if "train" in splits else []
    parts = _clean(rows, data, faults)
    if pooled:
        shares = {
            "train": 1.0 - data.validation_share - data.test_share,
            "validation": data.validation_share,
            "test": data.test_share,
        }
        parts = {**split_by_group(parts.pop("pool"), shares, seed), **parts}
    parts = without_leaks(parts, faults)
    if data.on_leak == "refuse":
        faults.refuse(
            ["leak"],
            "texts or groups stand in two splits",
            "Remove them from one, or set data.on_leak=drop to keep them in train, else in validation, else in test",
        )
    chosen = {name: _rows(parts[name], name, data.max_rows, seed) for name in splits}
    corpus = Corpus(chosen, {name: fingerprint(rows) for name, rows in chosen.items()}, data.synthetic, faults)
    if not ("train" in splits and data.unlabelled):
        return corpus
    # Test is left out where it is a file of its own: what is learnt must not depend on whether it was opened.
    labelled = {name: parts[name] for name in SPLITS if name in parts and (pooled or name != "test")}
    return _with_texts(corpus, without_known(texts, labelled, faults), data.max_rows, seed)


def _with_texts(corpus: Corpus, texts: Sequence[Text], max_rows: int | None, seed: int) -> Corpus:
    kept, sources, _, _ = zip(*drawn(texts, max_rows, seed), strict=True)
    prints = {**corpus.fingerprints, UNLABELLED: fingerprint_of_texts(kept)}
    return replace(corpus, fingerprints=prints, unlabelled=kept, unlabelled_sources=sources)


def _usable(name: str, data: Data, seed: int, faults: DataFaults) -> list[Row]:
    """The rows of a split, the pool or a set of `data.extra` that pass the checks of single rows."""
    if name == "pool" and data.synthetic:
        return check_rows(_generated(seed), name, data, SYNTHETIC_COLUMNS, faults)
    sources = data.extra[name] if name in data.extra else getattr(data, name)
    return check_rows(chain.from_iterable(map(read, sources)), name, data, data.columns, faults)


def _generated(seed: int) -> Iterator[Record]:
    # Imported here: only the synthetic corpus needs the generator and its templates.
    from core.corpus.generate import generate

    for number, row in enumerate(generate(seed), 1):
        yield Record("synthetic", f"synthetic:{number}", row)


def _clean(parts: dict[str, list[Row]], data: Data, faults: DataFaults) -> dict[str, list[Row]]:
    """Without repeated texts; refuses bad rows, and conflicts, of all splits in one error."""
    if data.on_bad_row == "refuse":  # so far nothing but bad rows has been counted, hence any kind
        faults.refuse(None, "rows that cannot be used", "Mend them, or set data.on_bad_row=drop to leave them out")
    cleaned = {name: without_repeats(rows, name, faults) for name, rows in parts.items()}
    if data.on_conflict == "refuse":
        faults.refuse(
            ["conflict"],
            "rows of one text with unlike (label, family, sub-family)",
            "Mend them, or set data.on_conflict=drop to leave out all rows of such texts",
        )
    return cleaned


def _drawn(rows: Sequence[Row], count: int, seed: Sequence[int]) -> np.ndarray:
    """Positions of `count` rows with every sub-family's share kept, so that training rows keep all classes."""
    return draw(np.array([f"{row.label} {row.family} {row.subfamily}" for row in rows]), count, seed)


def _rows(rows: Sequence[Row], split: str, max_rows: int | None, seed: int) -> Rows:
    if not rows:
        raise UserError(f"{split} has no usable rows: give it more, or look at what was dropped (data.on_* = refuse)")
    # No two share a stream: the first byte of a name is never as small as a position.
    stream = (SPLITS.index(split),) if split in SPLITS else tuple(split.encode())
    taken = rows if max_rows is None else [rows[i] for i in _drawn(rows, max_rows, (seed, *stream))]
    texts, values, families, subfamilies, groups, sources, _, _ = zip(*taken, strict=True)
    return Rows(texts, np.array(values, dtype=np.int64), families, subfamilies, groups, sources)
