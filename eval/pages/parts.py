"""Parts of the rows as tables: slices, families against families, figures without one source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from eval.figures import DECISION
from eval.kept import Kept
from eval.pages.facts import FIGURES
from eval.pages.words import share
from eval.schema import Report, Slice

VISIBLE_SOURCES = 12


@dataclass(frozen=True)
class Table:
    """Slices under one heading."""

    title: str
    head: str
    rows: list[tuple[str, Slice]]
    total: int
    """Slices there are; more than `rows` where only the worst are shown."""


def tables(report: Report) -> list[Table]:
    """By family, length, script, and the sources with the most wrong decisions."""
    sources = by_errors(report.per_source)
    family = sorted(report.per_family.items(), key=lambda item: (item[1].recall is None, item[0]))
    lengths = [(name, part) for name, part in report.per_length_bucket.items() if part.counts.rows]
    scripts = sorted(report.per_script.items(), key=lambda item: -item[1].counts.rows)
    scripts = [(name, part) for name, part in scripts if part.counts.rows]
    return [
        Table("By family", "Family", family, len(family)),
        Table("By length", "Characters", lengths, len(lengths)),
        Table("By script", "Script", scripts, len(scripts)),
        Table("By source", "Source", sources[:VISIBLE_SOURCES], len(sources)),
    ]


def by_errors(slices: Mapping[str, Slice]) -> list[tuple[str, Slice]]:
    """The slices with the most wrong decisions first, of equals the smaller one."""
    return sorted(
        slices.items(), key=lambda item: (-item[1].counts.fp - item[1].counts.fn, item[1].counts.rows, item[0])
    )


@dataclass(frozen=True)
class Families:
    """Families of the rows against the families that were said, end to end."""

    names: list[str]
    counts: list[list[int]]
    """counts[i][j]: rows of family i that were said to be j."""


def families(kept: Kept) -> Families:
    """Attack families in the alphabet, the benign one last."""
    true, said = kept.rows.families, kept.predictions.family
    probability = kept.predictions.attack_probability.tolist()
    benign = {name for name, label in zip(true, kept.rows.labels.tolist(), strict=True) if label == 0}
    benign |= {name for name, score in zip(said, probability, strict=True) if score < DECISION}
    names = sorted({*true, *said}, key=lambda name: (name in benign, name))
    place = {name: index for index, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts, ([place[name] for name in true], [place[name] for name in said]), 1)
    return Families(names, counts.tolist())


@dataclass(frozen=True)
class Without:
    """How one figure moves when one source is left out."""

    figure: str
    value: str
    lowest: str
    lowest_without: str
    highest: str
    highest_without: str


def sensitivity(report: Report) -> list[Without]:
    """One line a figure."""
    return [
        Without(
            FIGURES[name][0] if name in FIGURES else name,
            share(getattr(report.accuracy, name, None)),
            share(found.lowest),
            found.lowest_without,
            share(found.highest),
            found.highest_without,
        )
        for name, found in report.sensitivity.items()
    ]
