"""core.clusters and distill.triggers.clustering on embeddings that can be grouped by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from core import clusters
from core.clusters import LONGEST, AttackClusters, Example
from core.errors import UserError
from core.rows import Rows
from distill.triggers.clustering import cluster

CENTRES = np.eye(4, dtype=np.float32)
KNOWN = AttackClusters(CENTRES, tuple(Example(f"text {place}", f"kind {place}", 10 - place) for place in range(4)))


def test_the_nearest_come_first() -> None:
    found = KNOWN.similar(np.array([0.0, 0.6, 0.8, 0.0], np.float32))
    assert found[0] == {"text": "text 2", "subfamily": "kind 2", "similarity": 0.8}
    assert [similar["similarity"] for similar in found] == [0.8, 0.6, 0.0]
    json.dumps(found)  # nothing of numpy in it


def test_round_trip(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(4, 32)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    clusters.save(tmp_path, AttackClusters(centres, KNOWN.examples))
    back = clusters.read(tmp_path, 32)
    assert back is not None
    assert back.examples == KNOWN.examples
    np.testing.assert_allclose(back.centres, centres, atol=1e-3)
    assert {path.name for path in tmp_path.iterdir()} == set(clusters.FILES)


def test_the_largest_allowed_stay_below_two_megabytes(tmp_path: Path) -> None:
    """1000 clusters of a 768-dimension teacher with examples as long as they may be."""
    examples = tuple(Example("x" * LONGEST, "jb_output_constraint", 99) for _ in range(1000))
    clusters.save(tmp_path, AttackClusters(np.zeros((1000, 768), np.float32), examples))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2e6


def test_a_folder_may_have_none(tmp_path: Path) -> None:
    assert clusters.read(tmp_path, 4) is None


@pytest.mark.parametrize("name", clusters.FILES)
def test_what_is_broken_is_named(tmp_path: Path, name: str) -> None:
    clusters.save(tmp_path, KNOWN)
    with pytest.raises(UserError, match=r"shape \(4, 4\), but there are 4 examples and the encoder gives 8"):
        clusters.read(tmp_path, 8)
    (tmp_path / name).write_text("{")
    with pytest.raises(UserError, match="cannot be read for its attack clusters"):
        clusters.read(tmp_path, 4)
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match="cannot be read for its attack clusters"):
        clusters.read(tmp_path, 4)


def attacks(number: int) -> tuple[np.ndarray, Rows]:
    """Attacks around three directions, the first thrice as often as the others; each says which."""
    generator = np.random.default_rng(1)
    kinds = np.array([0, 0, 0, 1, 2] * number)
    embeddings = np.eye(3, 8, dtype=np.float32)[kinds] + 0.05 * generator.normal(size=(len(kinds), 8))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    names = tuple(f"kind {kind}" for kind in kinds)
    texts = tuple(f"attack  {place}\n" + "x" * 300 for place in range(len(kinds)))
    return embeddings.astype(np.float32), Rows(texts, np.ones(len(kinds), np.int64), names, names, texts, names)


def test_clusters_are_those_that_are_there() -> None:
    embeddings, rows = attacks(10)
    found = cluster(embeddings, rows, 3, seed=0)
    assert found.examples[0].subfamily == "kind 0"  # the largest first
    assert [example.attacks for example in found.examples] == [30, 10, 10]
    np.testing.assert_allclose(np.linalg.norm(found.centres, axis=1), 1.0, rtol=1e-5)
    place = int((embeddings @ found.centres[0]).argmax())
    assert found.examples[0].text == f"attack {place} {'x' * LONGEST}"[: LONGEST - 1] + "…"
    assert found.similar(embeddings[3])[0]["subfamily"] == "kind 1"


def test_no_more_clusters_than_unlike_attacks() -> None:
    embeddings, rows = attacks(10)
    found = cluster(np.repeat(embeddings[:2], 25, axis=0), rows, 20, seed=0)
    assert len(found.examples) == 2
