"""How a seed's update joins the host's activation: the regimes and their autograd functions."""

from enum import Enum
from typing import Any, NamedTuple

import torch
from torch import Tensor


class ForwardMode(Enum):
    """What a live slot does in the forward pass; `h` is the activation, `delta` the seed's update of it."""

    STRAIGHT_THROUGH = "straight-through"  # value h; the seed sees the loss, the host does not see the seed
    PROBE = "probe"  # value h; the seed is trained in passes of its own, at a small alpha and in isolation
    ISOLATED = "isolated"  # h + alpha * delta(stop_gradient(h)), bounded
    OPEN = "open"  # h + alpha * delta(h), bounded; a gradient that is not finite is stopped
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


def add_bounded(
    h: Tensor, delta: Tensor, alpha: Tensor, *, limit: float, axes: tuple[int, ...], norms: "RowNorms | None" = None
) -> Tensor:
    """Return ``h + alpha * factor * delta`` with the factor of `RowNorms.factor`, which is 1 for a sane update.

    The gradient of `h` is the incoming one, unscaled; that of `delta` is ``alpha * factor`` times it. `alpha` is a
    0-dimensional tensor; it gets no gradient, and neither do the two sizes that the factor is made of. They are
    measured, or given as `norms` where no graph is built.
    """
    if is_transformed():  # which knows no function that keeps what is neither its input nor its output
        with torch.no_grad():
            factor = RowNorms.of(h, delta, axes).factor(limit)
        return h + torch.where(factor > 0, delta, 0.0) * (alpha * factor).to(h.dtype)
    result: Tensor = _AddBounded.apply(h, delta, alpha, limit, axes, norms)  # type: ignore[no-untyped-call]
    return result


def is_transformed() -> bool:
    """Say whether `torch.func` transforms this pass, as for the gradients of single samples."""
    return torch._C._are_functorch_transforms_active()


class RowNorms(NamedTuple):  # torch.compile cannot build an attrs class
    """The 2-norms of the rows of an activation and of an update, with the axes of a row kept at length 1."""

    h: Tensor
    delta: Tensor

    @classmethod
    def of(cls, h: Tensor, delta: Tensor, axes: tuple[int, ...]) -> "RowNorms":
        """Measure them, in at least single precision."""
        wide = torch.float32 if h.dtype in (torch.float16, torch.bfloat16) else None
        return cls(*(torch.linalg.vector_norm(x, dim=axes, keepdim=True, dtype=wide) for x in (h, delta)))

    def factor(self, limit: float) -> Tensor:
        """Return what each row of the update (an image, a position, a vector) is multiplied by, 0 to 1.

        With r = rms(delta) / rms(h) it is 1 up to the limit, and (limit / r)^2 above. So rms(factor * delta) is never
        more than limit * rms(h), and it falls again as r grows: an update that explodes adds less and less, like an
        outlier under a redescending estimator, and nothing at all when it is not finite or its square is not.
        """
        most = limit * self.h
        kept = torch.where(self.delta <= most, 1.0, (most / self.delta).square())
        return torch.where(self.delta.isfinite(), kept, 0.0)


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


class _Transformable(torch.autograd.Function):
    """One that `torch.func` can transform: what it saves for backward is among its inputs and outputs."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass


class _StraightThrough(_Transformable):
    @staticmethod
    def forward(h: Tensor, delta: Tensor, copy: bool) -> Tensor:
        return h.clone() if copy else h.view_as(h)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        return grad, grad, None


class _AddBounded(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        h: Tensor,
        delta: Tensor,
        alpha: Tensor,
        limit: float,
        axes: tuple[int, ...],
        norms: RowNorms | None,
    ) -> Tensor:
        factor = (norms or RowNorms.of(h, delta, axes)).factor(limit)
        scale = (alpha * factor).to(h.dtype)
        ctx.save_for_backward(scale)
        # In place: two further tensors of this size would cost more than all of the arithmetic. And in measuring on the
        # CPU, where asking costs nothing, no row is replaced where none has to be.
        sound = norms is not None and h.device.type == "cpu" and bool((factor > 0).all())
        added = delta * scale if sound else torch.where(factor > 0, delta, 0.0).mul_(scale)
        return added.add_(h) if added.stride() == h.stride() else h + added

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        (scale,) = ctx.saved_tensors
        return grad, grad * scale, None, None, None, None


class _BlockGradient(_Transformable):
    @staticmethod
    def forward(h: Tensor) -> Tensor:
        return h.view_as(h)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> None:
        return None


class _GuardGradient(_Transformable):
    @staticmethod
    def forward(h: Tensor) -> Tensor:
        return h.view_as(h)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return torch.where(_finite(grad), grad, 0.0)
