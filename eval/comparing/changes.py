"""Which texts two models decide differently, and what that does to each family and source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from core.rows import Rows, text_hash
from eval.schema import Slice
from eval.schema.comparison import Flip, FlipKind, Part

Probability = NDArray[np.float64]  # (n,), of attack
Decisions = NDArray[np.bool_]  # (n,)


def flips(rows: Rows, before: Probability, after: Probability, threshold: float) -> dict[FlipKind, tuple[Flip, ...]]:
    """Every text whose decision changed, by kind; in each the most confident new decision first, equals by hash."""
    attack, said, says = rows.labels == 1, before >= threshold, after >= threshold
    kinds: dict[FlipKind, Decisions] = {
        "now caught": attack & ~said & says,
        "now missed": attack & said & ~says,
        "new false alarm": ~attack & ~said & says,
        "false alarm gone": ~attack & said & ~says,
    }
    found: dict[FlipKind, tuple[Flip, ...]] = {}
    for kind, here in kinds.items():
        those = [_flip(rows, int(index), before, after) for index in np.flatnonzero(here)]
        found[kind] = tuple(sorted(those, key=lambda flip: (-abs(flip.after - threshold), flip.text_hash)))
    return found


def _flip(rows: Rows, index: int, before: Probability, after: Probability) -> Flip:
    return Flip(
        text_hash=text_hash(rows.texts[index]),
        text=rows.texts[index],
        family=rows.families[index],
        source=rows.sources[index],
        before=float(before[index]),
        after=float(after[index]),
    )


def parts(
    names: Sequence[str],
    before: Mapping[str, Slice],
    after: Mapping[str, Slice],
    gained: Decisions,
    lost: Decisions,
) -> dict[str, Part]:
    """The slices of the same rows under both, in the order of `before`.

    names: of each row, n. gained, lost: rows that only the second, only the first decides rightly.
    """
    column = np.asarray(names, dtype=str)
    found = {}
    for name, then in before.items():
        here, now = column == name, after[name]
        found[name] = Part(
            before=then,
            after=now,
            recall_difference=_difference(then.recall, now.recall),
            false_positive_rate_difference=_difference(then.false_positive_rate, now.false_positive_rate),
            now_right=int((here & gained).sum()),
            now_wrong=int((here & lost).sum()),
        )
    return found


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before
