"""The rows of two reports brought into one order by their texts, or refused where they are not the same texts."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError
from core.rows import Rows, text_hash
from eval.kept import Answers, Predictions


def alignment(baseline: Rows, other: Rows, names: tuple[str, str], splits: tuple[str, str]) -> NDArray[np.int64]:
    """Where each row of `baseline` stands in `other`, (n,): by text hash, whatever the order of either.

    UserError: the texts are not the same, or a text has another label or family in one of them.
    """
    hashes = [np.asarray([text_hash(text) for text in rows.texts], dtype=str) for rows in (baseline, other)]
    _same_texts(hashes[0], hashes[1], names, splits)
    # A text that stands twice meets its equals in the order of their labels, so that only real differences are named.
    orders = [np.lexsort((rows.labels, keys)) for rows, keys in zip((baseline, other), hashes, strict=True)]
    place = np.empty(len(baseline), dtype=np.int64)
    place[orders[0]] = orders[1]
    _same_labels(baseline, other, place, names)
    return place


def reordered(predictions: Predictions, place: NDArray[np.int64]) -> Answers:
    """The predictions of the rows at `place`, in that order."""
    return Answers(
        attack_probability=predictions.attack_probability[place],
        family=tuple(predictions.family[index] for index in place),
        subfamily=tuple(predictions.subfamily[index] for index in place),
        family_confidence=predictions.family_confidence[place],
        subfamily_confidence=predictions.subfamily_confidence[place],
    )


def _same_texts(first: NDArray, second: NDArray, names: tuple[str, str], splits: tuple[str, str]) -> None:
    counts = [Counter(hashes.tolist()) for hashes in (first, second)]
    only = [(counts[0] - counts[1]).total(), (counts[1] - counts[0]).total()]
    if any(only):
        raise UserError(
            f"the reports are on different texts: {only[0]:,} only in {names[0]} ({splits[0]}, {len(first):,} texts),"
            f" {only[1]:,} only in {names[1]} ({splits[1]}, {len(second):,} texts); judge both on the same rows"
        )


def _same_labels(baseline: Rows, other: Rows, place: NDArray[np.int64], names: tuple[str, str]) -> None:
    for what, mine, theirs in (
        ("label", baseline.labels.tolist(), other.labels.tolist()),
        ("family", baseline.families, other.families),
        ("sub-family", baseline.subfamilies, other.subfamilies),
    ):
        unlike = [index for index, there in enumerate(place) if mine[index] != theirs[there]]
        if unlike:
            first = unlike[0]
            raise UserError(
                f"{len(unlike):,} texts have another {what} in {names[1]} than in {names[0]}: the first,"
                f" {text_hash(baseline.texts[first])[:12]}, is {mine[first]!r} in {names[0]} and"
                f" {theirs[place[first]]!r} in {names[1]}; judge both on the same rows"
            )
