"""The part of a teacher's output that the student's embedding imitates, whole or by its principal components."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError


@dataclass(frozen=True, eq=False)
class Imitated:
    """Teacher outputs (texts, scores + dim) -> embeddings (texts, size), each of length 1."""

    scores: int
    """Leading columns that are no embedding."""
    components: NDArray[np.float32] | None = None  # (size, dim), orthonormal rows

    def __call__(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        part = outputs[:, self.scores :]
        if self.components is None:
            return part
        reduced = part @ self.components.T
        lengths = np.linalg.norm(reduced, axis=1, keepdims=True)
        return (reduced / np.maximum(lengths, 1e-12)).astype(np.float32)

    @classmethod
    def of(cls, outputs: NDArray[np.float32], scores: int, size: int | None) -> tuple[Imitated, float]:
        """Fitted on the outputs of training texts; and the share of their squares that is kept, 0 to 1.

        Not centred, because it is the cosines that the student learns: of all maps to `size` dimensions this one keeps
        the scalar products best (Eckart and Young 1936). UserError where there are not so many dimensions.
        """
        part = outputs[:, scores:].astype(np.float64)
        if size is None:
            return cls(scores), 1.0
        if not 0 < size <= part.shape[1]:
            raise UserError(
                f"targets.embedding_size is {size}, but the teacher's embedding has {part.shape[1]} dimensions:"
                " lower it, or leave it out"
            )
        if size == part.shape[1]:  # turning it would only take it away from where a student begins
            return cls(scores), 1.0
        values, vectors = np.linalg.eigh(part.T @ part)  # rising
        kept = vectors[:, ::-1][:, :size].T
        # An eigenvector's sign is arbitrary: the largest entry is made positive, so that machines agree.
        signs = np.sign(kept[np.arange(size), np.abs(kept).argmax(axis=1)])
        share = float(values[::-1][:size].sum() / values.sum())
        return cls(scores, (kept * signs[:, None]).astype(np.float32)), share
