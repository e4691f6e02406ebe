"""The first layer's weights by logistic regression on words, pairs, patterns; its settings from scores out of fold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from core.first_layer import FirstLayer
from core.phrases import pairs_with_gap, runs, words
from core.rows import Rows
from core.schema import Triggers
from core.schema.guard import SURE
from core.sureness import choose

RARE = 8  # training texts that a term must stand in
KNOWN, COMMON = 20, 0.1  # texts, and at most this share of them, that hold a word at an end of a pattern
PENALTY = 0.3  # scikit-learn's C
CANDIDATES = 3  # times as many terms as are kept enter the first fit, those that tell attacks apart best by themselves
STEPS = 100
DIGITS = 3  # of a weight, so that the file holds what was fitted


@dataclass(frozen=True, eq=False)
class Card:
    """A fitted score card."""

    columns: NDArray[np.int64]  # (rules,)
    weights: NDArray[np.float64]  # (rules,)
    bias: float

    def log_odds(self, present: csr_matrix) -> NDArray[np.float64]:
        """present (texts, terms) -> (texts,)."""
        return present[:, self.columns] @ self.weights + self.bias


def learn(rows: Rows, config: Triggers) -> FirstLayer:
    """The first layer of the training rows."""
    from sklearn.feature_extraction.text import CountVectorizer

    few = max(1, len(rows) // 20)  # a small corpus has few texts of anything
    ends = _ends(rows, min(KNOWN, few))
    counter = CountVectorizer(analyzer=lambda text: _terms(text, ends), min_df=min(RARE, few), dtype=np.float64)
    present = counter.fit_transform(rows.texts)  # (texts, terms), 0 or 1
    names = counter.get_feature_names_out()
    out_of_fold = cross_fitted(present, rows, config)
    card = fit_card(present, rows.labels, config.rules)
    weights = {
        str(names[column]): round(float(weight), DIGITS)
        for column, weight in zip(card.columns, card.weights, strict=True)
    }
    speaking = [column for column, weight in zip(card.columns.tolist(), card.weights, strict=True) if weight > 0]
    return FirstLayer(
        round(card.bias, DIGITS),
        weights,
        {str(names[column]): kind for column, kind in _kinds(present, rows, speaking)},
        choose(out_of_fold, rows.labels, config.misses, config.alarms, SURE),
    )


def _ends(rows: Rows, known: int) -> set[str]:
    """The words that may stand at an end of a pattern: by their frequency alone, as folds are judged with them too."""
    holders = Counter(word for text in rows.texts for word in set(words(text)))
    return {word for word, count in holders.items() if known <= count <= COMMON * len(rows)}


def _terms(text: str, ends: Container[str]) -> set[str]:
    found = words(text)
    return {*runs(found, 2), *pairs_with_gap(found, ends)}


def cross_fitted(present: csr_matrix, rows: Rows, config: Triggers) -> NDArray[np.float64]:
    """Log-odds (texts,) of each text by a card that has seen neither it nor its near-duplicates."""
    from sklearn.model_selection import GroupKFold

    folds = min(config.folds, len(set(rows.groups)))
    found = np.zeros(len(rows))
    for fitted, judged in GroupKFold(folds).split(present, rows.labels, rows.groups):
        found[judged] = fit_card(present[fitted], rows.labels[fitted], config.rules).log_odds(present[judged])
    return found


def fit_card(present: csr_matrix, labels: NDArray[np.int64], rules: int) -> Card:
    """A logistic regression on the `rules` terms that move the most texts the furthest in a first one."""
    from sklearn.linear_model import LogisticRegression

    candidates = np.argsort(-telling(present, labels), kind="stable")[: CANDIDATES * rules]
    wide = LogisticRegression(C=PENALTY, max_iter=STEPS).fit(present[:, candidates], labels)
    spread = np.sqrt(np.asarray(present[:, candidates].mean(0)).ravel())
    columns = candidates[np.argsort(-np.abs(wide.coef_[0]) * spread, kind="stable")[:rules]]
    fitted = LogisticRegression(C=PENALTY, max_iter=STEPS).fit(present[:, columns], labels)
    return Card(columns, fitted.coef_[0], float(fitted.intercept_[0]))


def telling(present: csr_matrix, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(terms,): how far each term's presence depends on the label, as the statistic G2 (Dunning 1993)."""
    held = np.stack([np.asarray(present[labels == label].sum(0)).ravel() for label in (0, 1)])  # (2, terms)
    texts = np.bincount(labels, minlength=2)[:, None].astype(np.float64)
    share = held.sum(0) / texts.sum()
    statistic = np.zeros(held.shape[1])
    for observed, expected in ((held, texts * share), (texts - held, texts * (1 - share))):
        ratio = np.divide(observed, expected, out=np.ones_like(observed), where=(observed > 0) & (expected > 0))
        statistic += (observed * np.log(ratio)).sum(0)
    return 2 * statistic


def _kinds(present: csr_matrix, rows: Rows, columns: Sequence[int]) -> list[tuple[int, tuple[str, str]]]:
    """Family and sub-family of most attacks that hold each term."""
    attacks = rows.labels == 1
    held = present[attacks].tocsc()
    kinds = [
        kind for kind, attack in zip(zip(rows.families, rows.subfamilies, strict=True), attacks, strict=True) if attack
    ]
    found = []
    for column in columns:
        holders = held.indices[held.indptr[column] : held.indptr[column + 1]]
        if len(holders):
            counted = Counter(kinds[row] for row in holders)
            found.append((column, min(counted, key=lambda kind: (-counted[kind], kind))))
    return found
