"""Which rows stand in which split: splitting a pool by group, leaks across splits, and drawing fewer rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from core.checks import Row
from core.faults import DataFaults

# Of rows that leak, the first split here keeps its own: training never opens test, so what a model learnt cannot be
# taken back; the later measurement gives the row up instead. Any further set comes after these.
PRECEDENCE = ("train", "validation", "test")
Stratum = tuple[int, str, str]  # label, family, sub-family


def split_by_group(rows: Sequence[Row], shares: Mapping[str, float], seed: int) -> dict[str, list[Row]]:
    """Whole groups dealt to the splits, the same for the same rows (in any order), shares and seed.

    Greedy stratification in the manner of Sechidis et al. 2011: the strata (label, family, sub-family) with the
    fewest groups first, in each the largest groups first, each group to the split that lacks most rows of the stratum.
    A sub-family with as many groups as there are splits gets into each, unless its groups also hold other strata that
    were dealt before.

    Args:
        rows: the pool.
        shares: the split's share of the rows, summing to 1; on equal need the first split wins.
        seed: orders groups of equal size.
    """
    random = np.random.default_rng(seed)
    members: dict[str, list[Row]] = {}  # group -> its rows
    strata: dict[Stratum, dict[str, int]] = {}  # stratum -> group -> rows of this stratum in it
    for row in rows:
        members.setdefault(row.group, []).append(row)
        groups = strata.setdefault(row.classes, {})
        groups[row.group] = groups.get(row.group, 0) + 1
    home: dict[str, str] = {}  # group -> split
    reached: dict[str, set[str]] = {}  # sub-family -> the splits that have it
    total = dict.fromkeys(shares, 0)
    for stratum, sizes in sorted(strata.items(), key=lambda item: (len(item[1]), item[0])):
        have = dict.fromkeys(shares, 0)
        for group, size in sizes.items():
            if group in home:
                have[home[group]] += size
        pending = sorted(group for group in sizes if group not in home)
        shuffled = [pending[i] for i in random.permutation(len(pending))]
        wanted = sum(sizes.values())
        for position, group in enumerate(sorted(shuffled, key=lambda name: -sizes[name])):
            without = [split for split in shares if split not in reached.get(stratum[2], ())]
            # The last groups are kept for the splits that have nothing of this sub-family yet.
            allowed = without if without and len(pending) - position <= len(without) else list(shares)
            home[group] = max(
                allowed,
                key=lambda split: (shares[split] * wanted - have[split], shares[split] * len(rows) - total[split]),
            )
            have[home[group]] += sizes[group]
            total[home[group]] += len(members[group])
            for row in members[group]:
                reached.setdefault(row.subfamily, set()).add(home[group])
    return {split: [row for row in rows if home[row.group] == split] for split in shares}


def without_leaks(splits: Mapping[str, Sequence[Row]], faults: DataFaults) -> dict[str, list[Row]]:
    """Rows whose text or group already stands in a split that `PRECEDENCE` names earlier are taken out.

    Sets that `PRECEDENCE` does not name come last and are not compared with each other: nothing is learnt or chosen
    on them, and what one holds must not depend on which others were read beside it.
    """
    texts: dict[str, tuple[str, str]] = {}  # key -> split and location of a row that stays
    groups: dict[str, tuple[str, str]] = {}
    kept: dict[str, list[Row]] = {}
    for split in (*PRECEDENCE, *(name for name in splits if name not in PRECEDENCE)):
        kept[split] = []
        for row in splits.get(split, ()):
            what, (other, location) = "text", texts.get(row.key, ("", ""))
            if not other:
                what, (other, location) = "group", groups.get(row.group, ("", ""))
            if other:
                faults.add(split, "leak", f"{row.location} ({split}) has the {what} of {location} ({other})")
            else:
                kept[split].append(row)
        for row in kept[split] if split in PRECEDENCE else ():
            texts.setdefault(row.key, (split, row.location))
            groups.setdefault(row.group, (split, row.location))
    return {split: kept[split] for split in splits}


def draw(labels: np.ndarray, count: int, seed: Sequence[int]) -> np.ndarray:
    """Positions of `count` rows, ascending, with each label's share kept; int64 (min(count, n),)."""
    if count >= len(labels):
        return np.arange(len(labels))
    random = np.random.default_rng(seed)
    values, available = np.unique(labels, return_counts=True)
    exact = count * available / len(labels)
    numbers = np.floor(exact).astype(np.int64)
    numbers[np.argsort(numbers - exact, kind="stable")[: count - numbers.sum()]] += 1  # largest remainders
    if count >= len(values):  # a rare label keeps at least one row
        while (numbers == 0).any():
            numbers[numbers.argmax()] -= 1
            numbers[numbers.argmin()] += 1
    chosen = [
        random.choice(np.flatnonzero(labels == value), number, replace=False)
        for value, number in zip(values, numbers, strict=True)
    ]
    return np.sort(np.concatenate(chosen))
