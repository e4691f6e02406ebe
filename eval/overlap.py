"""What the judged texts share with the training texts: the very text, a near-duplicate, a group."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError
from core.rows import Rows, normalise
from eval.schema import Overlap

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SIMILARITY = 0.8
SHINGLE = 3  # words
PAIRS, TEXTS = 2_500_000, 2_000  # compared at once at most, so that memory stays under some 200 MB
SHOWN = 60  # characters of a text in a message
# Scripts that put no space between words (kana and Han; Thai and Lao; Burmese; Khmer): each character is a word.
_UNSPACED = (
    r"\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
)
_WORD, _ASCII_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+"), re.compile(r"\w+", re.ASCII)
_FACTORS = np.array([0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB], np.uint64)  # odd: nothing is lost


def overlap(
    judged: Rows, training: Rows, training_fingerprint: str, named: str | None, unlabelled: Sequence[str] = ()
) -> Overlap:
    """What `judged` shares with `training`.

    Args:
        judged: the rows that a model is judged on.
        training: the rows that it learnt from.
        training_fingerprint: of `training`.
        named: the fingerprint that the checkpoint's manifest names as its training data; None if it names none.
        unlabelled: further texts that it may have learnt a teacher's word of.

    Raises:
        UserError: a judged text, normalised, is a training text.
    """
    texts, learnt = ([normalise(text) for text in part] for part in (judged.texts, (*training.texts, *unlabelled)))
    _refuse_learnt(judged.texts, texts, set(learnt))
    groups = set(training.groups)
    return Overlap(
        training_rows=len(training),
        training_fingerprint=training_fingerprint,
        same_training_rows=None if named is None else named == training_fingerprint,
        exact=0,
        near=int(near_duplicates(texts, learnt).sum()),
        near_similarity=SIMILARITY,
        same_group=sum(group in groups for group in judged.groups),
    )


def _refuse_learnt(written: Sequence[str], texts: Sequence[str], learnt: set[str]) -> None:
    if found := [raw for raw, text in zip(written, texts, strict=True) if text in learnt]:
        first = " ".join(found[0].split())
        first = first if len(first) <= SHOWN else f"{first[: SHOWN - 1]}…"
        raise UserError(
            f"{len(found)} of the {len(texts)} judged texts stand in the training rows, the first {first!r}: what was"
            " learnt cannot be judged on; take them out of one of the two (data.on_leak=drop does, across the splits)"
        )


def near_duplicates(texts: Sequence[str], others: Sequence[str], similarity: float = SIMILARITY) -> NDArray[np.bool_]:
    """Which normalised texts have a near-duplicate among `others`, bool (n,).

    Near: the Jaccard similarity of their shingles (Broder 1997, "On the resemblance and containment of documents") is
    at least `similarity`. All pairs are compared, on all shingles, not on a sketch of them: the numbers of shingles
    that two texts share are the product of their sparse incidence matrices.
    """
    found = np.zeros(len(texts), dtype=bool)
    if not texts:
        return found
    hashes, starts = _shingles_of(texts)
    known = np.unique(hashes)
    whole, sizes = _incidence(hashes, starts, known), np.diff(starts)
    step = min(TEXTS, max(1, PAIRS // len(texts)))
    for start in range(0, len(others), step):
        left = np.flatnonzero(~found)
        hashes, starts = _shingles_of(others[start : start + step])
        common = (whole[left] @ _incidence(hashes, starts, known).T).tocoo()  # (left, step)
        union = sizes[left][common.row] + np.diff(starts)[common.col] - common.data
        # The hair's breadth keeps pairs that lie on the limit: 0.8 has no exact double.
        found[left[common.row[common.data >= similarity * union - 1e-9]]] = True
    return found


def shingles(text: str) -> NDArray[np.uint64]:
    """The distinct runs of three words of a normalised text as 64-bit hashes, ascending, (at least 1,).

    A word is a run of letters, digits and underscores, so punctuation makes no difference. A text of fewer words is
    one shingle; one without a word is its own only word. Python's hash differs from process to process, the figures
    do not: some ten million shingles meet by chance less than once in 100,000 runs.
    """
    words = (_ASCII_WORD if text.isascii() else _WORD).findall(text) or [text]
    if len(words) < SHINGLE:
        return np.array([hash(tuple(words))], np.int64).view(np.uint64)
    hashed = np.fromiter(map(hash, words), np.int64, len(words)).view(np.uint64)
    first, second, third = _FACTORS
    return np.unique(hashed[:-2] * first + hashed[1:-1] * second + hashed[2:] * third)  # modulo 2^64


def _shingles_of(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The shingles of all texts in a row, (sum,), and where each text's begin, (n + 1,)."""
    parts = [shingles(text) for text in texts]
    return np.concatenate(parts), np.cumsum([0, *map(len, parts)])


def _incidence(hashes: NDArray[np.uint64], starts: NDArray[np.int64], known: NDArray[np.uint64]) -> csr_matrix:
    """Which of the `known` shingles (ascending) each text has: ones, (texts, known)."""
    from scipy.sparse import csr_matrix

    column = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    hit = known[column] == hashes
    bounds = np.concatenate([[0], np.cumsum(hit)])[starts]
    shape = (len(starts) - 1, len(known))
    return csr_matrix((np.ones(bounds[-1], np.int32), column[hit], bounds), shape=shape)
