"""How alike the numbers of two models are: correlations under weights, divergence of probabilities, cosines."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.errors import UserError
from eval.metrics.checks import same_length

CLIP = 1e-6  # a probability of exactly 0 or 1 would make a divergence infinite
Column = NDArray[np.float64]


def pearson(first: Column, second: Column, weights: Column) -> float:
    """Pearson's correlation of n pairs of numbers that count as often as `weights` (n,) says; NaN where one of the
    two does not vary.
    """
    counted = weights > 0
    often, columns = weights[counted], (first[counted], second[counted])
    if not len(often) or any(column.min() == column.max() for column in columns):
        return float("nan")
    one, other = (column - np.sum(often * column) / np.sum(often) for column in columns)
    weighed = often * one
    # The three sums run in one order, so that a column's correlation with its copy is exactly 1.
    covariance, variances = np.sum(weighed * other), np.sum(weighed * one) * np.sum(often * other * other)
    return float(np.clip(covariance / np.sqrt(variances), -1.0, 1.0))


def grades(values: ArrayLike) -> NDArray[np.int64]:
    """The place of each value (n,) among the distinct ones, from 0: all of it that ranks depend on."""
    return np.unique(np.asarray(values), return_inverse=True)[1].astype(np.int64)


def spearman(first: NDArray[np.int64], second: NDArray[np.int64], weights: Column) -> float:
    """Spearman's rank correlation, ties at their mean rank (Spearman 1904); NaN where one of the two does not vary.

    first, second: `grades` of the numbers, (n,), so that many resamples sort only once. weights: how often each pair
    counts, (n,); the ranks are those of the pairs repeated so often.
    """
    counted = weights > 0
    often = weights[counted]
    ranks = [_mean_ranks(grade[counted], often) for grade in (first, second)]
    return pearson(ranks[0], ranks[1], often)


def _mean_ranks(grade: NDArray[np.int64], weights: Column) -> Column:
    at = np.bincount(grade, weights)  # (distinct,)
    ranks: Column = (np.cumsum(at) - at / 2)[grade]  # all a half too low, which no correlation sees
    return ranks


def divergence(teacher: ArrayLike, student: ArrayLike) -> Column:
    """Kullback-Leibler divergence of each text's decision, teacher from student, nats, (n,).

    teacher, student: probability of attack, (n,), clipped to 1e-6 … 1 - 1e-6. UserError: unlike lengths.
    """
    one, other = (np.clip(np.asarray(values, np.float64), CLIP, 1 - CLIP) for values in (teacher, student))
    same_length(one, other, "the student's probabilities")
    apart: Column = one * np.log(one / other) + (1 - one) * np.log((1 - one) / (1 - other))
    return np.maximum(apart, 0.0)  # rounding can leave -1e-17


def cosines(first: NDArray[np.floating], second: NDArray[np.floating]) -> Column:
    """Cosine of each row of `first` to the same row of `second`, both (n, dim), -> (n,); 0 where a row is all zeros.

    UserError: they are not of the same shape.
    """
    if first.shape != second.shape:
        raise UserError(f"cosines need embeddings of one shape, not {first.shape} and {second.shape}")
    lengths = _lengths(first) * _lengths(second)
    return _over(np.einsum("nd,nd->n", first, second), lengths)


def similarities(embeddings: NDArray[np.floating]) -> Column:
    """Cosine of every row (n, dim) to every other, (n, n); 0 where a row is all zeros. Makes no copy of the rows."""
    lengths = _lengths(embeddings)
    return _over(embeddings @ embeddings.T, np.outer(lengths, lengths))


def _lengths(embeddings: NDArray[np.floating]) -> Column:
    return np.sqrt(np.einsum("nd,nd->n", embeddings, embeddings)).astype(np.float64)


def _over(products: NDArray[np.floating], lengths: Column) -> Column:
    return np.clip(np.divide(products, lengths, out=np.zeros(lengths.shape), where=lengths > 0), -1.0, 1.0)
