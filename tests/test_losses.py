"""distill.losses: each loss against numbers worked out by hand, its zero, its gradient and what it must ignore."""

import math

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


def test_hidden_mse_by_hand() -> None:
    # 2 layers, 1 text, 2 tokens, 2 dimensions; the second token is padding.
    student = torch.zeros(2, 1, 2, 2, requires_grad=True)
    teacher = torch.tensor([[[[1.0, 3.0], [100.0, 100.0]]], [[[0.0, 2.0], [100.0, 100.0]]]])
    loss = losses.hidden_mse(student, teacher, torch.tensor([[1, 0]]))
    assert loss.item() == pytest.approx((1 + 9 + 0 + 4) / 4)
    gradient = flows(loss, student)
    assert not gradient[:, :, 1].any()  # padding pulls nothing
    torch.testing.assert_close(gradient[0, 0, 0], torch.tensor([-0.5, -1.5]))


def test_hidden_mse_without_padding_is_the_plain_mean_square() -> None:
    student, teacher = torch.randn(3, 4, 5, 6), torch.randn(3, 4, 5, 6)
    mask = torch.ones(4, 5, dtype=torch.int64)
    expected = torch.nn.functional.mse_loss(student, teacher).item()
    assert losses.hidden_mse(student, teacher, mask).item() == pytest.approx(expected, rel=1e-5)
    assert losses.hidden_mse(student, student, mask).item() == 0.0


def test_hidden_mse_does_not_depend_on_how_far_a_batch_is_padded() -> None:
    student, teacher = torch.randn(2, 2, 3, 4), torch.randn(2, 2, 3, 4)
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    noise = torch.full((2, 2, 5, 4), 50.0)
    longer = torch.cat([mask, torch.zeros(2, 5, dtype=torch.int64)], dim=1)
    padded = losses.hidden_mse(torch.cat([student, noise], 2), torch.cat([teacher, -noise], 2), longer)
    assert padded.item() == pytest.approx(losses.hidden_mse(student, teacher, mask).item(), rel=1e-6)


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
