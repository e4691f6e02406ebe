"""distill.terms: each term takes the right tensors of student, teacher and labels, and full precision."""

from typing import Any

import pytest
import torch
from torch import Tensor

from core.model import Projections
from core.rows import IGNORED
from core.schema import Losses
from distill import losses
from distill.classifier import ClassifierOutput, Logits
from distill.terms import Batch, loss_term
from distill.token_states import TokenStates

LABELS = {
    "binary": torch.tensor([1, 0, 1, 1, 0]),
    "family": torch.tensor([0, IGNORED, 1, 1, IGNORED]),
    "subfamily": torch.tensor([2, IGNORED, 0, 1, IGNORED]),
}
WEIGHTS = {"family": torch.tensor([3.0, 0.5]), "subfamily": torch.tensor([1.0, 4.0, 0.25])}
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 0]])


def random_states(width: int, heads: int) -> TokenStates:
    projections = Projections(*(torch.randn(5, 4, width) for _ in range(3)))
    return TokenStates(torch.randn(2, 5, 4, 8), torch.randn(2, 5, heads, 4, 4), projections)


def random_logits() -> Logits:
    return Logits(torch.randn(5), torch.randn(5, 2), torch.randn(5, 3))


@pytest.fixture
def batch() -> Batch:
    torch.manual_seed(1)
    student = ClassifierOutput(torch.randn(5, 6), random_logits(), random_states(8, 2))
    return Batch(student, LABELS, MASK, torch.randn(5, 6), random_logits(), random_states(12, 3), WEIGHTS)


def term(batch: Batch, name: str, **settings: Any) -> float:
    return loss_term(name, Losses.model_validate(settings), batch).item()


@pytest.mark.parametrize("weighting", ["none", "balanced", "focal"])
def test_class_weighting_is_for_families_and_sub_families(batch: Batch, weighting: str) -> None:
    logits = batch.student.logits

    def expected(scores: Tensor, head: str) -> float:
        match weighting:
            case "none":
                return losses.cross_entropy(scores, LABELS[head]).item()
            case "balanced":
                return losses.cross_entropy(scores, LABELS[head], WEIGHTS[head]).item()
        return losses.focal(scores, LABELS[head], 3.0).item()

    binary = losses.cross_entropy(losses.two_class(logits.binary), LABELS["binary"]).item()
    whole = binary + 0.25 * expected(logits.family, "family") + 2.0 * expected(logits.subfamily, "subfamily")
    settings = {"class_weighting": weighting, "focal_gamma": 3.0, "family_weight": 0.25, "subfamily_weight": 2.0}
    assert term(batch, "task", **settings) == pytest.approx(whole, rel=1e-6)


def test_benign_texts_are_a_class_of_their_own(batch: Batch) -> None:
    classes = torch.tensor([0, 7, 1, 1, 7])
    expected = losses.supervised_contrastive(batch.student.embedding, classes, 0.3).item()
    assert term(batch, "contrastive", contrastive_temperature=0.3) == pytest.approx(expected)


def test_the_teacher_s_family_counts_for_attacks_alone(batch: Batch) -> None:
    mine, theirs, attacks = batch.student.logits, batch.logits, [0, 2, 3]
    assert theirs is not None
    pairs = (
        (1.0, losses.two_class(mine.binary), losses.two_class(theirs.binary)),
        (0.5, mine.family[attacks], theirs.family[attacks]),
        (0.5, mine.subfamily[attacks], theirs.subfamily[attacks]),
    )
    expected = sum(share * losses.logits_kd(left, right, 3.0).item() for share, left, right in pairs)
    assert term(batch, "logits_kd", temperature=3.0) == pytest.approx(expected, rel=1e-6)


def test_relations_are_the_mean_of_queries_keys_and_values(batch: Batch) -> None:
    mine, theirs = batch.student.tokens.projections, batch.tokens and batch.tokens.projections
    assert mine is not None
    assert theirs is not None
    found = [losses.relations(getattr(mine, n), getattr(theirs, n), MASK, 2).item() for n in ("query", "key", "value")]
    assert term(batch, "relations", relation_heads=2) == pytest.approx(sum(found) / 3, rel=1e-6)


@pytest.mark.parametrize("name", ["embedding_cosine", "embedding_mse", "similarity"])
def test_sentence_terms_compare_the_two_embeddings(batch: Batch, name: str) -> None:
    assert batch.embedding is not None
    assert term(batch, name) == pytest.approx(getattr(losses, name)(batch.student.embedding, batch.embedding).item())


@pytest.mark.parametrize("name", ["hidden_mse", "attention_kl", "attention_mse"])
def test_token_terms_compare_the_states_of_their_kind(batch: Batch, name: str) -> None:
    kind = "hidden" if name == "hidden_mse" else "scores"
    pair = (getattr(batch.student.tokens, kind), getattr(batch.tokens, kind))
    assert term(batch, name) == pytest.approx(getattr(losses, name)(*pair, MASK).item())


@pytest.mark.parametrize("name", ["similarity", "contrastive", "relations"])
def test_autocast_does_not_reach_the_losses(batch: Batch, name: str) -> None:
    exact = term(batch, name, relation_heads=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert term(batch, name, relation_heads=2) == exact


def test_a_term_of_another_name_is_a_mistake_of_ours(batch: Batch) -> None:
    with pytest.raises(ValueError, match="no loss term is called relation"):
        term(batch, "relation")
