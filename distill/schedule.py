"""The weight of a loss term in each step: warm-up, decay, and the steps in which it counts at all."""

from __future__ import annotations

import math
from collections.abc import Mapping

from core.errors import UserError
from core.schema import Term


def weight_at(term: Term, step: int, total_steps: int) -> float:
    """The weight of `term` in `step` (0 … total_steps - 1); it follows from the step alone, so resuming keeps it.

    A warm-up of w steps gives 1/w, 2/w, … 1 of the weight; a decay then falls from 1 to reach 0 at `until_step`
    (or `total_steps`, whichever comes first), which is no longer counted.
    """
    end = total_steps if term.until_step is None else min(term.until_step, total_steps)
    if not term.from_step <= step < end:
        return 0.0
    since = step - term.from_step
    if since < term.warmup_steps:
        return term.weight * (since + 1) / term.warmup_steps
    progress = (since - term.warmup_steps) / (end - term.from_step - term.warmup_steps)  # from 0, always below 1
    match term.decay:
        case "none":
            share = 1.0
        case "linear":
            share = 1.0 - progress
        case "cosine":
            share = 0.5 * (1.0 + math.cos(math.pi * progress))
    return term.weight * share


def weights_at(terms: Mapping[str, Term], step: int, total_steps: int) -> dict[str, float]:
    """The weights of all terms in `step`."""
    return {name: weight_at(term, step, total_steps) for name, term in terms.items()}


def refuse_idle(terms: Mapping[str, Term], total_steps: int) -> None:
    """Raises UserError for a term that never counts, and for a step in which none does."""
    for name, term in terms.items():
        if term.from_step >= total_steps:
            raise UserError(
                f"losses.{name}.from_step is {term.from_step}, but the training has {total_steps} steps, so the term"
                " would never count: lower it, train longer or set its weight to 0"
            )
    for step in range(total_steps):
        if not any(weights_at(terms, step, total_steps).values()):
            raise UserError(
                f"no loss term counts in step {step} of {total_steps}: let the steps of the terms meet"
                " (losses.….from_step and until_step)"
            )
