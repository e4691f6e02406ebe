"""Unlike models as one encoder: for each text all members' scores, then the embeddings of the dense ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core import manifest
from core.errors import UserError
from core.heads import HeadScores
from core.pipeline import SCORED_TOGETHER, Pipeline, open_pipeline
from core.rows import Taxonomy

LIST = "ensemble.json"
SMALLEST = 1e-6  # a head's FP32 probability is 0 or 1 beyond this; the log-odds of it stay finite


def log_scores(scores: HeadScores) -> NDArray[np.float32]:
    """(texts, 1 + families + sub-families): log-odds of attack, then log-probabilities."""
    attack = np.clip(scores.attack.astype(np.float64), SMALLEST, 1 - SMALLEST)
    parts = [np.log(attack / (1 - attack))[:, None]]
    parts += [np.log(np.maximum(part.astype(np.float64), SMALLEST)) for part in (scores.family, scores.subfamily)]
    return np.concatenate(parts, axis=1).astype(np.float32)


class EnsembleEncoder:
    """Members of any kind (PyTorch, ONNX, lexical) behind the `Encoder` protocol.

    What it gives for a text is no embedding of length 1 but a row of the members' log-scores, for linear heads to
    blend (stacking: Wolpert 1992), and, for a student to imitate, the dense members' embeddings one after another,
    each divided by the square root of their number, so that this part has length 1.
    """

    def __init__(self, members: Sequence[Pipeline]) -> None:
        self.members = tuple(members)
        self._dense = [member for member in members if member.described.get("kind") != "lexical"]

    @classmethod
    def open(cls, folder: Path) -> EnsembleEncoder:
        """Opens the members that `ensemble.json` names; UserError where it is missing or broken."""
        try:
            names = json.loads((folder / LIST).read_text(encoding="utf-8"))["members"]
            folders = [folder / "members" / str(name) for name in names]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{folder} cannot be read as an ensemble ({error}); restore it from its source or build it again"
            ) from error
        return cls([open_member(member) for member in folders])

    def use_threads(self, threads: int) -> None:
        for member in self.members:
            member.use_threads(threads)

    @property
    def scores(self) -> int:
        """How many leading columns are the members' scores."""
        return len(self.members) * log_width(self.members[0].taxonomy)

    @property
    def dimension(self) -> int:
        return self.scores + sum(member.encoder.dimension for member in self._dense)

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """For each text what every member reads, one after another, each behind the number of its ids."""
        by_member = [member.encoder.tokenise(texts) for member in self.members]
        return [[number for ids in of_text for number in (len(ids), *ids)] for of_text in zip(*by_member, strict=True)]

    def whole(self, text: str, ids: Sequence[int]) -> bool:
        """Whether every member reads it to its end."""
        parts = zip(self.members, self._apart(ids), strict=True)
        return all(member.encoder.whole(text, own) for member, own in parts)

    def embed(self, tokens: Sequence[Sequence[int]], width: int | None = None) -> NDArray[np.float32]:
        """(texts, dim); `width` is every member's."""
        rows = [self._apart(packed) for packed in tokens]
        return self._joined(
            [
                member.encoder.embed([row[place] for row in rows], width)  # (texts, the member's dim)
                for place, member in enumerate(self.members)
            ]
        )

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> NDArray[np.float32]:
        """(texts, dim), each member as it is served; in parts, because a lexical embedding has as many dimensions as
        terms.
        """
        parts = [
            self._joined(
                [member.encoder.encode(texts[start : start + SCORED_TOGETHER], batch_size) for member in self.members]
            )
            for start in range(0, len(texts), SCORED_TOGETHER)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self.dimension), np.float32)

    def _apart(self, packed: Sequence[int]) -> list[list[int]]:
        """The inverse of `tokenise` for one text."""
        found, start = [], 0
        for _ in self.members:
            end = start + 1 + packed[start]
            found.append(list(packed[start + 1 : end]))
            start = end
        return found

    def _joined(self, embeddings: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        pairs = list(zip(self.members, embeddings, strict=True))
        scores = [log_scores(member.score(embedding)) for member, embedding in pairs]
        share = np.float32(len(self._dense) ** -0.5) if self._dense else np.float32(1)
        dense = [share * embedding for member, embedding in pairs if member in self._dense]
        return np.concatenate([*scores, *dense], axis=1)


def log_width(taxonomy: Taxonomy) -> int:
    """Columns that one member's scores take."""
    return 1 + len(taxonomy.families) + len(taxonomy.subfamilies)


def open_member(folder: Path) -> Pipeline:
    """A verified checkpoint as a member; UserError for an ensemble, which is no member."""
    if manifest.read(folder).kind == "ensemble":
        raise UserError(f"{folder} is an ensemble itself: name its members instead")
    return open_pipeline(folder)
