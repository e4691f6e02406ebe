"""MiniLMv2's relation loss, text by text: its score matrices are too many to be kept for a backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

CHUNK = 1 << 21  # scores held at once: 8 MB in FP32, which a cache can hold


def relations(student: Tensor, teacher: Tensor, mask: Tensor, heads: int) -> Tensor:
    """KL divergence of the teacher's from the student's self-relation: MiniLMv2 (Wang et al. 2021, arXiv 2012.15828).

    student, teacher: (batch, tokens, any width that `heads` divides), queries, keys or values with all attention heads
    side by side; they are cut anew into `heads` relation heads, so that the models' own numbers of heads do not matter.
    mask: (batch, tokens), 1 for real tokens. Mean over relation heads and real tokens, in FP32. No gradient reaches
    the teacher.
    """
    divergence: Tensor = _Divergence.apply(student.float(), teacher.float(), mask, heads)
    return divergence


class _Divergence(torch.autograd.Function):
    """The loss with its gradient, which is taken on the way forward, some texts at a time.

    With S = A A^T c the scores of a head and P, Q the softmaxes of teacher and student over keys, the gradient of
    KL(P || Q) is Q - P at S, hence (G + G^T) A c at A, where G is Q - P over the number of heads and real tokens.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, mask: Tensor, heads: int) -> Tensor:
        batch, tokens, width = student.shape
        scale = (width // heads) ** -0.5
        gradient, total = torch.empty_like(student), student.new_zeros(())
        share = mask.to(student.dtype)[:, None, :, None] / (mask.sum() * heads)  # (batch, 1, tokens, 1)
        padding = (mask == 0)[:, None, None, :]
        texts = max(1, CHUNK // (heads * tokens * tokens))
        for start in range(0, batch, texts):
            part = slice(start, start + texts)
            mine = _cut(student[part], heads)
            given = _log_relation(mine, padding[part])  # (texts, heads, tokens, tokens)
            wanted = _log_relation(_cut(teacher[part], heads), padding[part])
            target = wanted.exp()
            total += ((wanted - given).mul_(target).sum(-1, keepdim=True) * share[part]).sum()
            if not ctx.needs_input_grad[0]:
                continue
            at_scores = given.exp_().sub_(target).mul_(share[part])
            at_heads = (at_scores + at_scores.transpose(-1, -2)) @ mine * scale
            gradient[part] = at_heads.transpose(1, 2).reshape(-1, tokens, width)
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return upstream * gradient, None, None, None


def _cut(vectors: Tensor, heads: int) -> Tensor:
    """(texts, tokens, width) -> (texts, heads, tokens, width of a head)."""
    texts, tokens, width = vectors.shape
    return vectors.reshape(texts, tokens, heads, width // heads).transpose(1, 2)


def _log_relation(vectors: Tensor, padding: Tensor) -> Tensor:
    """log softmax(A A^T / sqrt(width of a head)) over real keys."""
    scores = vectors @ vectors.transpose(-1, -2)
    scores.mul_(vectors.shape[-1] ** -0.5).masked_fill_(padding, -1e30)  # finite, since 0 * -inf is NaN
    return functional.log_softmax(scores, dim=-1)
