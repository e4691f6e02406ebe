"""Losses on embeddings and logits against numbers worked out by hand: zeros, gradients, what they must ignore."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from core.rows import IGNORED
from distill import losses


def rows(*values: list[float]) -> Tensor:
    return torch.tensor(values, requires_grad=True)


def flows(loss: Tensor, into: Tensor) -> Tensor:
    loss.backward()
    assert into.grad is not None
    assert torch.isfinite(into.grad).all()
    return into.grad


def test_embedding_cosine_by_hand() -> None:
    student = rows([3.0, 4.0], [1.0, 0.0], [2.0, 0.0])
    teacher = torch.tensor([[4.0, 3.0], [0.0, 1.0], [-1.0, 0.0]])  # cosines 24/25, 0, -1
    loss = losses.embedding_cosine(student, teacher)
    assert loss.item() == pytest.approx((0.04 + 1.0 + 2.0) / 3)
    assert flows(loss, student)[0].abs().sum() > 0


def test_embedding_cosine_ignores_length_and_is_zero_on_itself() -> None:
    student = torch.randn(5, 7)
    assert losses.embedding_cosine(student, 3.0 * student).item() == pytest.approx(0.0, abs=1e-6)


def test_embedding_mse_by_hand() -> None:
    student = rows([1.0, 0.0], [0.0, 1.0])
    teacher = torch.tensor([[0.0, 1.0], [0.0, -2.0]])
    loss = losses.embedding_mse(student, teacher)
    assert loss.item() == pytest.approx((2.0 + 9.0) / 2)  # summed over dimensions, mean over texts
    torch.testing.assert_close(flows(loss, student), torch.tensor([[1.0, -1.0], [0.0, 3.0]]))


def test_embedding_mse_is_zero_on_itself_and_twice_one_minus_cosine_on_unit_vectors() -> None:
    left, right = (torch.nn.functional.normalize(torch.randn(6, 4), dim=-1) for _ in range(2))
    assert losses.embedding_mse(left, left).item() == 0.0
    assert losses.embedding_mse(left, right).item() == pytest.approx(2 * losses.embedding_cosine(left, right).item())


def test_similarity_by_hand() -> None:
    # Cosines of the pairs (0,1), (0,2), (1,2): student 0, 1, 0; teacher 0.6, 0, 0.8.
    student = rows([2.0, 0.0], [0.0, 3.0], [1.0, 0.0])
    teacher = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.0, 1.0, 0.0]])
    loss = losses.similarity(student, teacher)
    assert loss.item() == pytest.approx((0.36 + 1.0 + 0.64) / 3)
    assert flows(loss, student).abs().sum() > 0


def test_similarity_sees_neither_length_nor_rotation_nor_width() -> None:
    student = torch.randn(5, 6)
    rotated = 3.0 * student @ torch.linalg.qr(torch.randn(6, 6))[0]
    wider = torch.cat([rotated, torch.zeros(5, 4)], dim=1)
    assert losses.similarity(student, student).item() == 0.0
    assert losses.similarity(student, wider).item() == pytest.approx(0.0, abs=1e-10)
    assert losses.similarity(student, student.flip(0)).item() > 1e-2


def test_similarity_of_one_text_is_zero_with_a_zero_gradient() -> None:
    student = torch.randn(1, 4, requires_grad=True)
    loss = losses.similarity(student, torch.randn(1, 3))
    assert loss.item() == 0.0
    assert not flows(loss, student).any()


def naive_contrastive(embedding: Tensor, labels: list[int], temperature: float) -> float:
    """L_out of Khosla et al. 2020 written out, one text and one pair after the other."""
    unit = [vector / vector.norm() for vector in embedding]
    texts = range(len(labels))
    total, anchors = 0.0, 0
    for anchor in texts:
        positives = [other for other in texts if other != anchor and labels[other] == labels[anchor]]
        if not positives:
            continue
        scores = {
            other: math.exp(float(unit[anchor] @ unit[other]) / temperature) for other in texts if other != anchor
        }
        total -= sum(math.log(scores[p] / sum(scores.values())) for p in positives) / len(positives)
        anchors += 1
    return total / anchors


def test_supervised_contrastive_by_hand() -> None:
    # Temperature 1; the first two share a class, at cosine 1; the third is at 0 to both and has no partner.
    embedding = rows([1.0, 0.0], [2.0, 0.0], [0.0, 1.0])
    loss = losses.supervised_contrastive(embedding, torch.tensor([5, 5, IGNORED]), 1.0)
    assert loss.item() == pytest.approx(math.log((math.e + 1) / math.e), rel=1e-6)
    assert flows(loss, embedding)[:2].abs().sum() > 0


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_supervised_contrastive_equals_the_loop(temperature: float) -> None:
    torch.manual_seed(3)
    embedding, labels = torch.randn(9, 5), [0, 1, 0, 2, IGNORED, IGNORED, 0, 3, IGNORED]
    loss = losses.supervised_contrastive(embedding, torch.tensor(labels), temperature)
    assert loss.item() == pytest.approx(naive_contrastive(embedding, labels, temperature), rel=1e-5)


@pytest.mark.parametrize("labels", [[0, 1, 2], [4], []])
def test_supervised_contrastive_without_a_pair_is_zero_with_a_zero_gradient(labels: list[int]) -> None:
    embedding = torch.randn(len(labels), 4, requires_grad=True)
    loss = losses.supervised_contrastive(embedding, torch.tensor(labels, dtype=torch.int64), 0.1)
    assert loss.item() == 0.0
    assert not flows(loss, embedding).any()


def test_supervised_contrastive_falls_as_classes_come_together() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    apart = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    together = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    values = [losses.supervised_contrastive(batch, labels, 0.5).item() for batch in (together, apart)]
    assert values[0] < 0.5 < values[1]


def test_two_class_is_the_sigmoid_as_a_softmax() -> None:
    logit = torch.tensor([-2.0, 0.0, 3.0])
    pair = losses.two_class(logit)
    assert pair.shape == (3, 2)
    torch.testing.assert_close(torch.softmax(pair, -1)[:, 1], torch.sigmoid(logit))


def test_cross_entropy_of_two_class_is_binary_cross_entropy() -> None:
    logit, target = torch.tensor([-2.0, 0.5, 3.0]), torch.tensor([0, 1, 0])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logit, target.float())
    torch.testing.assert_close(losses.cross_entropy(losses.two_class(logit), target), expected)


def test_logits_kd_by_hand() -> None:
    # Teacher says (3/4, 1/4), student (1/2, 1/2): KL = 3/4 ln(3/2) + 1/4 ln(1/2).
    student = torch.zeros(1, 2, requires_grad=True)
    teacher = torch.tensor([[math.log(3.0), 0.0]])
    loss = losses.logits_kd(student, teacher, 1.0)
    assert loss.item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=1e-5)
    torch.testing.assert_close(flows(loss, student), torch.tensor([[-0.25, 0.25]]))


def test_logits_kd_is_not_symmetric_and_takes_the_teacher_as_the_truth() -> None:
    sure, unsure = torch.tensor([[5.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    assert losses.logits_kd(sure, unsure, 1.0).item() != pytest.approx(losses.logits_kd(unsure, sure, 1.0).item())
    assert losses.logits_kd(sure, unsure, 1.0).item() == pytest.approx(math.log(0.5) - 0.5 * (-0.0067153 - 5.0067153))


def test_logits_kd_divides_by_the_temperature_and_multiplies_by_its_square() -> None:
    student, teacher = torch.randn(4, 3), torch.randn(4, 3)
    softened = losses.logits_kd(student / 3.0, teacher / 3.0, 1.0)
    torch.testing.assert_close(losses.logits_kd(student, teacher, 3.0), 9.0 * softened)


def test_logits_kd_is_zero_on_itself_up_to_a_constant_and_for_an_empty_batch() -> None:
    logits = torch.randn(4, 3)
    assert losses.logits_kd(logits, logits + 7.0, 2.0).item() == pytest.approx(0.0, abs=1e-6)
    student = torch.randn(4, 3, requires_grad=True)
    nothing = losses.logits_kd(student[:0], torch.zeros(0, 3), 2.0)
    assert nothing.item() == 0.0
    assert not flows(nothing, student).any()


def test_logits_kd_is_a_mean_over_texts() -> None:
    student, teacher = torch.randn(2, 3), torch.randn(2, 3)
    one_by_one = [losses.logits_kd(student[i : i + 1], teacher[i : i + 1], 2.0) for i in range(2)]
    torch.testing.assert_close(losses.logits_kd(student, teacher, 2.0), torch.stack(one_by_one).mean())


def test_cross_entropy_by_hand_leaves_ignored_rows_out_of_sum_and_count() -> None:
    logits = rows([math.log(3.0), 0.0], [0.0, 0.0], [9.0, -9.0])
    loss = losses.cross_entropy(logits, torch.tensor([0, 1, IGNORED]))
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)
    gradient = flows(loss, logits)
    assert not gradient[2].any()
    torch.testing.assert_close(gradient[1], torch.tensor([0.25, -0.25]))


@pytest.mark.parametrize("count", [0, 3])
def test_cross_entropy_of_no_targets_is_zero_with_a_zero_gradient(count: int) -> None:
    logits = torch.randn(count, 4, requires_grad=True)
    loss = losses.cross_entropy(logits, torch.full((count,), IGNORED))
    assert loss.item() == 0.0  # torch's own would be NaN
    assert not flows(loss, logits).any()


def test_cross_entropy_vanishes_where_the_answer_is_sure_and_right() -> None:
    logits = torch.tensor([[40.0, 0.0], [0.0, 40.0]])
    assert losses.cross_entropy(logits, torch.tensor([0, 1])).item() == pytest.approx(0.0, abs=1e-6)


def test_cross_entropy_with_weights_by_hand_is_a_mean_over_rows() -> None:
    logits = rows([math.log(3.0), 0.0], [0.0, 0.0], [9.0, -9.0])
    loss = losses.cross_entropy(logits, torch.tensor([0, 1, IGNORED]), torch.tensor([0.5, 4.0]))
    assert loss.item() == pytest.approx((0.5 * math.log(4 / 3) + 4.0 * math.log(2)) / 2)
    assert not flows(loss, logits)[2].any()


def test_focal_by_hand() -> None:
    # Right with probability 3/4 and 1/2: (1/4)^2 ln(4/3) and (1/2)^2 ln 2.
    logits = rows([math.log(3.0), 0.0], [0.0, 0.0], [9.0, -9.0])
    loss = losses.focal(logits, torch.tensor([0, 1, IGNORED]), 2.0)
    assert loss.item() == pytest.approx((math.log(4 / 3) / 16 + math.log(2) / 4) / 2)
    assert not flows(loss, logits)[2].any()


def test_focal_without_focus_is_cross_entropy() -> None:
    logits, target = torch.randn(6, 3), torch.tensor([0, 2, 1, IGNORED, 1, 0])
    torch.testing.assert_close(losses.focal(logits, target, 0.0), losses.cross_entropy(logits, target))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_of_sure_answers_has_a_finite_gradient(gamma: float) -> None:
    logits = torch.tensor([[60.0, 0.0], [60.0, 0.0]], requires_grad=True)
    loss = losses.focal(logits, torch.tensor([0, 1]), gamma)
    assert loss.item() == pytest.approx(30.0)
    flows(loss, logits)


def test_focal_of_no_targets_is_zero_with_a_zero_gradient() -> None:
    logits = torch.randn(3, 4, requires_grad=True)
    loss = losses.focal(logits, torch.full((3,), IGNORED), 2.0)
    assert loss.item() == 0.0
    assert not flows(loss, logits).any()


def test_balanced_weights_by_hand() -> None:
    counts = torch.tensor([1, 3])
    # beta 1/2: effective 1 and 7/4, so weights as 7 to 4; mean over the rows (7 + 3 * 4) / 4.
    torch.testing.assert_close(losses.balanced_weights(counts, 0.5), torch.tensor([7.0, 4.0]) / 4.75)
    torch.testing.assert_close(losses.balanced_weights(counts, 0.0), torch.ones(2))


def test_balanced_weights_at_beta_1_are_those_of_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.repeat([0, 1, 2], [50, 3, 7])
    expected = torch.tensor(compute_class_weight("balanced", classes=np.arange(3), y=labels), dtype=torch.float32)
    torch.testing.assert_close(losses.balanced_weights(torch.tensor([50, 3, 7]), 1.0), expected)


def test_balanced_weights_raise_the_rare_and_keep_the_mean_over_rows() -> None:
    counts = torch.tensor([4000, 200, 10, 1])
    for beta in (0.0, 0.9, 0.999, 0.99999, 1.0):
        found = losses.balanced_weights(counts, beta)
        assert (found.diff() >= 0).all()
        assert (found * counts).sum().item() / counts.sum().item() == pytest.approx(1.0, rel=1e-5)
    assert torch.isfinite(losses.balanced_weights(torch.tensor([3, 0]), 0.99)).all()
