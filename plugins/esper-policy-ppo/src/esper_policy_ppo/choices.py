"""Choosing among what is possible: exact masks, in any precision."""

import torch
from torch import Tensor

from esper_core.api import Op
from esper_policy_ppo.inputs import OPS

_WAIT, _GERMINATE = OPS.index(Op.WAIT), OPS.index(Op.GERMINATE)


def masked_log_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """Return the log-probabilities of the choices that are possible, (..., C) of float32; -inf for all others.

    Where nothing is possible the head is not used: then every choice counts as possible, so that nothing is NaN.

    Args:
        logits: (..., C), of any floating-point type; they must be finite.
        mask: (..., C) of bool.
    """
    possible = mask | ~mask.any(-1, keepdim=True)
    # In float32: bfloat16 has no room for the difference of two log-probabilities.
    return torch.log_softmax(logits.float().masked_fill(~possible, -torch.inf), dim=-1)


def gumbel(uniform: Tensor) -> Tensor:
    """Return Gumbel noise, finite everywhere, of numbers in [0, 1).

    What is not possible has a log-probability of -inf, and keeps it when noise is added.
    """
    return -torch.log(-torch.log(uniform.float().clamp(min=1e-20, max=1.0 - 1e-7)))


def draw(log_probs: Tensor, noise: Tensor | None) -> Tensor:
    """Return one choice of each distribution, (...) of int64: never one whose probability is 0.

    Args:
        log_probs: (..., C), of `masked_log_softmax`.
        noise: (..., C), of `gumbel`: the largest of the log-probabilities plus the noise is a draw from the
            distribution (Gumbel, 1954). None: the most probable choice.
    """
    return (log_probs if noise is None else log_probs + noise).argmax(-1)


def entropy(log_probs: Tensor) -> Tensor:
    """Return the entropy of each distribution as a share of the largest possible one, (...): 0 for a single choice."""
    possible = log_probs > -torch.inf
    # `where` on both sides: 0 * -inf would be NaN, and so would its gradient.
    finite = torch.where(possible, log_probs, 0.0)
    nats = -(finite.exp() * finite * possible).sum(-1)
    return nats / possible.sum(-1).clamp(min=2).float().log()


def relevant(op: Tensor) -> Tensor:
    """Return which heads an operation uses, (..., 4) of bool, in the order of `HEADS`.

    Args:
        op: (...) of int64, an index into the operations.
    """
    slot, germinates = op != _WAIT, op == _GERMINATE
    return torch.stack([torch.ones_like(slot), slot, germinates, germinates], dim=-1)
