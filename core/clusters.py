"""Attack clusters: centres of the training attacks' embeddings, each with one attack, to show what a text is like."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as packed

from core.errors import UserError

CENTRES, EXAMPLES = "attack_clusters.safetensors", "attack_clusters.json"
FILES = (CENTRES, EXAMPLES)
"""A folder has both or neither: an encoder that is pruned or trained further needs new ones."""
SHOWN = 3
LONGEST = 160
"""Characters of an example."""


@dataclass(frozen=True)
class Example:
    """The training attack nearest to a centre."""

    text: str
    subfamily: str
    attacks: int
    """Training attacks of this cluster."""


@dataclass(frozen=True, eq=False)
class AttackClusters:
    """Centres of length 1 and their examples."""

    centres: NDArray[np.float32]  # (clusters, dim)
    examples: tuple[Example, ...]

    def similar(self, embedding: NDArray[np.float32]) -> list[dict[str, Any]]:
        """The nearest clusters to an embedding (dim,) of length 1, nearest first; `similarity` is the cosine."""
        cosines = self.centres @ embedding  # (clusters,)
        nearest = np.argsort(-cosines)[:SHOWN].tolist()
        return [
            {
                "text": self.examples[place].text,
                "subfamily": self.examples[place].subfamily,
                "similarity": round(float(cosines[place]), 4),
            }
            for place in nearest
        ]


def save(folder: Path, clusters: AttackClusters) -> None:
    """Writes the centres in half precision, which moves a cosine by less than 0.001, and the examples."""
    (folder / CENTRES).write_bytes(packed({"centres": clusters.centres.astype(np.float16)}))
    listed = json.dumps([asdict(example) for example in clusters.examples], indent=1, ensure_ascii=False)
    (folder / EXAMPLES).write_text(listed + "\n", encoding="utf-8")


def read(folder: Path, dimension: int) -> AttackClusters | None:
    """The clusters of a folder whose encoder gives `dimension` numbers; None where it has none.

    UserError where they are broken or belong to another encoder.
    """
    if not any((folder / name).exists() for name in FILES):
        return None
    try:
        centres = load_file(folder / CENTRES)["centres"].astype(np.float32)
        rows = json.loads((folder / EXAMPLES).read_text(encoding="utf-8"))
        examples = tuple(Example(str(row["text"]), str(row["subfamily"]), int(row["attacks"])) for row in rows)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(f"{folder} cannot be read for its attack clusters: {error}; fit them again") from error
    if centres.shape != (len(examples), dimension) or not np.isfinite(centres).all():
        raise UserError(
            f"{folder / CENTRES} holds centres of shape {centres.shape}, but there are {len(examples)} examples and the"
            f" encoder gives {dimension} dimensions: fit the clusters again (python -m distill.fit_triggers)"
        )
    return AttackClusters(centres, examples)


def shortened(texts: Sequence[str]) -> list[str]:
    """Examples on one line, cut at `LONGEST` characters."""
    lines = (" ".join(text.split()) for text in texts)
    return [line if len(line) <= LONGEST else line[: LONGEST - 1] + "…" for line in lines]
