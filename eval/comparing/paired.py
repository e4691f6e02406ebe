"""Paired differences of two models' figures and decisions, adjusted where several models meet one baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from eval.schema.comparison import Change, McNemar, Those
from eval.significance import holm, mcnemar, paired_difference

Figures = Mapping[str, float | None]
Resampled = Mapping[str, NDArray[np.float64]]  # each (repeats,)
Decisions = NDArray[np.bool_]  # (n,)
Key = TypeVar("Key", bound=str)
Tested = TypeVar("Tested", Change, McNemar)


def changes(
    before: Figures, resampled_before: Resampled, after: Figures, resampled_after: Resampled
) -> dict[str, Change]:
    """Every figure's difference, second minus first, with interval and p-value from the same resamples of both."""
    return {
        name: _change(then, after[name], resampled_before.get(name), resampled_after.get(name))
        for name, then in before.items()
    }


def _change(
    then: float | None,
    now: float | None,
    resampled_then: NDArray[np.float64] | None,
    resampled_now: NDArray[np.float64] | None,
) -> Change:
    if then is None or now is None or resampled_then is None or resampled_now is None:
        nothing = {"difference": None, "interval": None, "p_value": None, "adjusted_p_value": None}
        return Change.model_validate({"before": then, "after": now, **nothing})
    paired = paired_difference(resampled_now, resampled_then, now - then)
    return Change(
        before=then,
        after=now,
        difference=paired.value,
        interval=paired.interval,
        p_value=paired.p_value,
        adjusted_p_value=paired.p_value,
    )


def tests(labels: NDArray[np.int64], before: Decisions, after: Decisions) -> dict[Those, McNemar]:
    """McNemar's test of right against wrong on all rows, on attacks and on benign rows; what is not there is left out.

    It takes the texts as independent: where near-duplicates flip together, believe the bootstrap's p-value.
    """
    gained, lost = only_right(labels, after, before), only_right(labels, before, after)
    members: dict[Those, Decisions] = {"all": labels >= 0, "attacks": labels == 1, "benign": labels == 0}
    found: dict[Those, McNemar] = {}
    for name, here in members.items():
        if here.any():
            counts = int((lost & here).sum()), int((gained & here).sum())
            p_value = mcnemar(*counts)
            found[name] = McNemar(
                only_before_right=counts[0], only_after_right=counts[1], p_value=p_value, adjusted_p_value=p_value
            )
    return found


def only_right(labels: NDArray[np.int64], one: Decisions, other: Decisions) -> Decisions:
    """Rows that `one` decides rightly and `other` does not, (n,)."""
    truth = labels == 1
    return (one == truth) & (other != truth)


def adjusted(of_models: Sequence[Mapping[Key, Tested]]) -> list[dict[Key, Tested]]:
    """The same with Holm's p-values: over the models, figure by figure; what cannot be said stays as it is."""
    found: list[dict[Key, Tested]] = [dict(of_model) for of_model in of_models]
    for name in of_models[0]:
        those = [index for index, of_model in enumerate(of_models) if of_model[name].p_value is not None]
        values = holm([of_models[index][name].p_value or 0.0 for index in those])
        for index, value in zip(those, values, strict=True):
            found[index][name] = of_models[index][name].model_copy(update={"adjusted_p_value": value})
    return found
