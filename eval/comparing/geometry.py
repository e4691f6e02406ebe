"""What a student keeps of the geometry of its teacher's embeddings: cosines, and similarities of pairs of texts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.rows import Rows, text_hash
from eval.comparing.agreeing import estimate, mean
from eval.metrics import bootstrap, percentile_interval
from eval.metrics.bootstrap import Weights
from eval.metrics.likeness import cosines, grades, pearson, similarities, spearman
from eval.schema.fidelity import Cosine, Embeddings, Estimate, Similarities

MOST_TEXTS = 1000  # half a million pairs; their lexical embeddings alone take 360 MB
MOST_REPEATS = 500  # each ranks all the pairs anew
BEGINNING = 160  # characters
Table = NDArray[np.floating]  # (n, dim)
Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]  # positions of the first and the second text, each (pairs,)


def sample(rows: Rows, seed: int) -> Rows:
    """The rows that embeddings are compared on: at most 1,000, at random."""
    return rows.take(np.sort(np.random.default_rng(seed).permutation(len(rows))[:MOST_TEXTS]))


def geometry(rows: Rows, teacher: Table, student: Table, repeats: int, seed: int) -> Embeddings:
    """Both models' embeddings of the same rows, (n, width of the teacher) and (n, width of the student), compared.

    Widths may differ: similarities of pairs of texts are numbers in either ("representational similarity analysis",
    Kriegeskorte et al. 2008). Where they are equal, the embeddings themselves are compared too.
    """
    weights = bootstrap.resample(rows.labels, rows.groups, repeats, seed)
    pairs = pairs_of(rows)
    widths = {"student": student.shape[1], "teacher": teacher.shape[1]}
    unlike, few = unlike_widths(**widths), None
    if lacking := next((role for role, width in widths.items() if not width), None):  # an ensemble of lexical members
        few = unlike = f"not comparable: the {lacking} has no embedding, only scores"
    elif len(pairs[0]) < 3:
        few = f"{len(pairs[0])} pairs of texts from different near-duplicate clusters: a correlation needs 3"
    return Embeddings(
        texts=len(rows),
        clusters=len(set(rows.groups)),
        cosine=None if unlike else _cosine(rows, cosines(student, teacher), weights),
        cosine_reason=unlike,
        similarities=None if few else _similarities(teacher, student, pairs, weights[:MOST_REPEATS]),
        similarities_reason=few,
    )


def unlike_widths(student: int, teacher: int) -> str | None:
    """Why a cosine between two embeddings cannot be said; None where it can."""
    if student == teacher:
        return None
    return f"not comparable: the student's embedding is {student:,} wide, the teacher's {teacher:,}"


def pairs_of(rows: Rows) -> Pairs:
    """Every pair of rows from different groups, once."""
    _, cluster = np.unique(np.asarray(rows.groups, dtype=str), return_inverse=True)
    left, right = np.triu_indices(len(rows), 1)
    apart = cluster[left] != cluster[right]
    return left[apart], right[apart]


def _cosine(rows: Rows, values: NDArray[np.float64], weights: Weights) -> Cosine:
    """values: (n,)"""
    fifth = [np.percentile(np.repeat(values, often), 5) for often in weights]
    worst = int(np.argmin(values))
    return Cosine(
        mean=mean(values, weights),
        fifth_percentile=Estimate(value=float(np.percentile(values, 5)), interval=percentile_interval(fifth)),
        worst=float(values[worst]),
        worst_text_hash=text_hash(rows.texts[worst]),
        worst_text=rows.texts[worst][:BEGINNING],
    )


def _similarities(teacher: Table, student: Table, pairs: Pairs, weights: Weights) -> Similarities:
    first, second = (similarities(table)[pairs] for table in (teacher, student))  # each (pairs,)
    graded = grades(first), grades(second)
    once = np.ones(len(first))
    straight, ranked = np.empty(len(weights)), np.empty(len(weights))
    for repeat, often in enumerate(weights.astype(np.float64)):
        together = often[pairs[0]] * often[pairs[1]]  # (pairs,): how often the resample holds both
        straight[repeat] = pearson(first, second, together)
        ranked[repeat] = spearman(*graded, together)
    return Similarities(
        pairs=len(first),
        repeats=len(weights),
        spearman=estimate(spearman(*graded, once), ranked),
        pearson=estimate(pearson(first, second, once), straight),
        teacher_mean=float(first.mean()),
        student_mean=float(second.mean()),
    )
