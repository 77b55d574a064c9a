"""How a seed's update joins the host's activation: the regimes and their autograd functions."""

from enum import Enum
from typing import Any

import torch
from torch import Tensor


class ForwardMode(Enum):
    """What a live slot does in the forward pass; `h` is the activation, `delta` the seed's update of it."""

    STRAIGHT_THROUGH = "straight-through"  # value h; the seed sees the loss, the host does not see the seed
    PROBE = "probe"  # value h; the seed is trained in passes of its own, at a small alpha and in isolation
    ISOLATED = "isolated"  # h + alpha * delta(stop_gradient(h)), guarded
    OPEN = "open"  # h + alpha * delta(h), guarded in both directions
    FOSSIL = "fossil"  # h + delta(h), an ordinary part of the network


def straight_through(h: Tensor, delta: Tensor, *, copy: bool = False) -> Tensor:
    """Return a tensor equal to `h` whose gradient flows to `h` and, in full, to `delta`.

    `delta` is never added, so that not even a NaN in it can reach the host.

    Args:
        h: activation, any shape.
        delta: the seed's update, of the same shape and dtype.
        copy: hand out a copy, for a consumer that overwrites it.
    """
    result: Tensor = _StraightThrough.apply(h, delta, copy)  # type: ignore[no-untyped-call]
    return result


def add_guarded(h: Tensor, delta: Tensor, alpha: Tensor) -> Tensor:
    """Return ``h + alpha * delta``, or `h` where `delta` holds a number that is not finite.

    The gradient of `h` is the incoming one, unscaled; that of `delta` is alpha times it, or zero if `delta` was left
    out. `alpha` is a 0-dimensional tensor and gets no gradient.
    """
    result: Tensor = _AddGuarded.apply(h, delta, alpha)  # type: ignore[no-untyped-call]
    return result


def isolated_input(h: Tensor, *, needs_graph: bool) -> Tensor:
    """Return `h` for a seed whose gradient must not reach the host.

    Args:
        h: activation.
        needs_graph: mark the result as requiring grad although nothing flows back. On the CPU the backward of a
            channels_last GroupNorm whose input does not require grad ends the process (torch 2.13).
    """
    if not (needs_graph and torch.is_grad_enabled()):
        return h.detach()
    if not h.requires_grad:
        return h.detach().requires_grad_()
    result: Tensor = _BlockGradient.apply(h)  # type: ignore[no-untyped-call]
    return result


def open_input(h: Tensor) -> Tensor:
    """Return `h` for a seed that may train the host: a gradient that is not finite is stopped here."""
    result: Tensor = _GuardGradient.apply(h)  # type: ignore[no-untyped-call]
    return result


def _finite(x: Tensor) -> Tensor:
    # One reduction instead of an elementwise test: NaN and infinity survive a sum. float32 keeps half precision from
    # overflowing where every element is finite.
    return x.sum(dtype=torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else None).isfinite()


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, delta: Tensor, copy: bool) -> Tensor:
        return h.clone() if copy else h.view_as(h)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        return grad, grad, None


class _AddGuarded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, delta: Tensor, alpha: Tensor) -> Tensor:
        finite = _finite(delta)
        ctx.save_for_backward(alpha, finite)
        return h + torch.where(finite, delta * alpha, 0.0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        alpha, finite = ctx.saved_tensors
        return grad, torch.where(finite, grad * alpha, 0.0), None


class _BlockGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor) -> Tensor:
        return h.view_as(h)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> None:
        return None


class _GuardGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor) -> Tensor:
        return h.view_as(h)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return torch.where(_finite(grad), grad, 0.0)
