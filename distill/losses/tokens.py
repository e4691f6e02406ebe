"""Losses on what happens inside the models, token by token: hidden states and attention maps."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def hidden_mse(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """MSE of hidden states over real tokens, as in TinyBERT (Jiao et al. 2020, arXiv 1909.10351).

    student, teacher: (layers, batch, tokens, dim), the student's already mapped to the teacher's width;
    mask: (batch, tokens), 1 for real tokens.
    """
    weights = mask[None, :, :, None].to(student.dtype)
    per_value = (student - teacher).square() * weights
    return per_value.sum() / (weights.sum() * student.shape[0] * student.shape[-1])


def attention_kl(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """KL divergence of the teacher's from the student's attention, mean over layers, heads and real queries.

    student, teacher: (layers, batch, heads, tokens, tokens) scores before the softmax over keys (the last dimension);
    unlike numbers of heads: both are averaged over their heads first. mask: (batch, tokens), 1 for real tokens.
    The attention term of MiniLM (Wang et al. 2020, arXiv 2002.10957) on any layers. In FP32.
    """
    given, wanted = _comparable(student, teacher, mask)
    return _mean_over_queries(_divergence(given, wanted), mask)


def attention_mse(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Squared difference of attention, summed over keys; mean over layers, heads and real queries. In FP32.

    Arguments as `attention_kl`. TinyBERT's attention term (Jiao et al. 2020, arXiv 1909.10351) on probabilities.
    """
    given, wanted = _comparable(student, teacher, mask)
    return _mean_over_queries((given.exp() - wanted.exp()).square().sum(-1), mask)


def _comparable(student: Tensor, teacher: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of both, each with its heads, or, where these differ in number, averaged over them."""
    given, wanted = (_log_softmax(scores, mask) for scores in (student, teacher))
    if student.shape[-3] == teacher.shape[-3]:
        return given, wanted
    given, wanted = (torch.logsumexp(part, -3, keepdim=True) - math.log(part.shape[-3]) for part in (given, wanted))
    return given, wanted


def _log_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Over the real keys; (…, batch, heads, tokens, tokens). Padding gets a log-probability so low that it counts 0."""
    padding = (mask == 0)[:, None, None, :]  # finite, since 0 * -inf is NaN
    return functional.log_softmax(scores.float().masked_fill(padding, -1e30), dim=-1)


def _divergence(given: Tensor, wanted: Tensor) -> Tensor:
    """KL(wanted || given) of log-probabilities over the last dimension, which it removes."""
    return functional.kl_div(given, wanted, reduction="none", log_target=True).sum(-1)


def _mean_over_queries(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over everything but padded queries; values: (…, batch, heads, tokens)."""
    weights = mask[:, None, :].to(values.dtype).expand_as(values)
    return (values * weights).sum() / weights.sum()
