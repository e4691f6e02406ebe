"""Why two logs may differ for another reason than the model."""

from __future__ import annotations

import numpy as np

from eval.live.notes import of_labels, of_log
from eval.live.side import Side
from eval.live.sketch import QuantileSketch


def notes(a: Side, b: Side) -> list[str]:
    """A sentence each."""
    found = [f"{name}: {note}" for name, side in (("A", a), ("B", b)) for note in of_log(side.log)]
    found += of_labels(a.log, b.log)
    if a.log.digests and set(a.log.digests) == set(b.log.digests):
        found.append("Both logs are of the same folder: an A/A test, whose every difference is chance.")
    shared = min(a.tally.last, b.tally.last) - max(a.tally.first, b.tally.first)
    whole = max(a.tally.last, b.tally.last) - min(a.tally.first, b.tally.first)
    if shared < whole / 2:
        found.append("The logs share less than half of their time: traffic that changed looks like the model's doing.")
    gap, p_value = lengths_differ(a.tally.characters, b.tally.characters)
    if p_value < 0.001:
        found.append(
            f"The texts of A and B differ in length (largest gap of shares {gap:.3f}, p {p_value:.1g}): calls were not"
            " assigned by chance, so differences may be those of the texts."
        )
    found.append("The p-values hold for one look at a planned number of lines, not for looking until one is small.")
    return found


def lengths_differ(first: QuantileSketch, second: QuantileSketch) -> tuple[float, float]:
    """Kolmogorov and Smirnov's distance of two sketches' values, and its asymptotic p-value."""
    from scipy.stats import kstwobign

    shares = [np.cumsum(sketch.counts) / len(sketch) for sketch in (first, second)]
    gap = float(np.abs(shares[0] - shares[1]).max())
    independent = len(first) * len(second) / (len(first) + len(second))
    return gap, float(kstwobign.sf(gap * np.sqrt(independent)))
