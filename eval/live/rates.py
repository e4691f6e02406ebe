"""Error rates of all traffic from the part of it that somebody labelled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.live.read import ATTACK, BENIGN, UNKNOWN
from eval.metrics import wilson
from eval.schema.live import Share

DRAWS = 4000
ALLOWED, FLAGGED = 0, 1
Counts = NDArray[np.int64]  # (2, 3): answered lines by decision (ALLOWED, FLAGGED) and label (UNKNOWN, BENIGN, ATTACK)
WORDS = {BENIGN: ("benign texts", "flagged"), ATTACK: ("attacks", "allowed")}
WRONG = {BENIGN: FLAGGED, ATTACK: ALLOWED}


@dataclass(frozen=True, eq=False)
class Estimate:
    """An error rate with draws of what it may be."""

    share: Share
    draws: NDArray[np.float64] | None = None
    """(DRAWS,); None where it was counted or not measured."""
    wrong: int = 0
    total: int = 0
    """Labelled lines of the class, and those decided wrongly, among them."""


def false_positive_rate(counts: Counts, seed: int = 0) -> Estimate:
    """Of benign traffic, the share that was flagged."""
    return _rate(counts, BENIGN, seed)


def false_negative_rate(counts: Counts, seed: int = 0) -> Estimate:
    """Of attacks in the traffic, the share that was allowed."""
    return _rate(counts, ATTACK, seed)


def _rate(counts: Counts, kind: int, seed: int) -> Estimate:
    """Wrong decisions among the class `kind`.

    Whoever labels looks at what was flagged, so labelled lines are no sample of the traffic: counted plainly they make
    false positives look frequent and missed attacks rare. So where labels are missing, the labelled flagged lines stand
    for all flagged ones and the labelled allowed lines for all allowed ones (post-stratification: Cochran, Sampling
    Techniques, 1977, section 5A.9). It needs labels chosen by chance within each; its interval is of draws from
    Jeffreys' posteriors (Beta(k + 1/2, n - k + 1/2)) of the class's share in each.
    """
    wrong, name = WRONG[kind], WORDS[kind]
    of_class, total = int(counts[wrong, kind]), int(counts[:, kind].sum())
    if not counts[:, UNKNOWN].any():
        if not total:
            return _unmeasured(f"no {name[0]} among the answered lines", 0)
        sentence = f"{of_class:,} of {total:,} {name[0]} {name[1]}; every answered line has a label"
        share = Share(
            value=of_class / total, interval=wilson(of_class, total), method="counted", labelled=total,
            sentence=sentence,
        )  # fmt: skip
        return Estimate(share, None, of_class, total)
    labelled, lines = counts[:, [BENIGN, ATTACK]].sum(axis=1), counts.sum(axis=1)  # (2,): by decision
    names = ("allowed", "flagged")
    blind = [names[said] for said in (ALLOWED, FLAGGED) if lines[said] and not labelled[said]]
    if blind:
        return _unmeasured(f"no {' and no '.join(blind)} line has a label: label some, chosen by chance", total)
    stratum = lines * counts[:, kind] / np.maximum(labelled, 1)  # (2,): lines of the class, as its labelled ones say
    if not stratum.any():
        return _unmeasured(f"no {name[0]} among {int(labelled.sum()):,} labelled lines", 0)
    generator = np.random.default_rng(seed)
    drawn = lines * generator.beta(counts[:, kind] + 0.5, labelled - counts[:, kind] + 0.5, size=(DRAWS, 2))
    draws = drawn[:, wrong] / drawn.sum(axis=1)
    value = float(stratum[wrong] / stratum.sum())
    low, high = np.percentile(draws, (2.5, 97.5)).tolist()
    sentence = (
        f"{labelled[FLAGGED]:,} of {lines[FLAGGED]:,} flagged and {labelled[ALLOWED]:,} of {lines[ALLOWED]:,} allowed"
        f" lines have a label, {total:,} of them {name[0]}, {of_class:,} {name[1]}; each stands for its kind"
    )
    interval = min(low, value), max(high, value)
    share = Share(value=value, interval=interval, method="weighted", labelled=total, sentence=sentence)
    return Estimate(share, draws, of_class, total)


def _unmeasured(why: str, labelled: int) -> Estimate:
    return Estimate(Share(value=None, interval=None, method="not measured", labelled=labelled, sentence=why))
