"""Small torch helpers for blueprints and hosts."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from math import prod

import torch
from torch import Tensor, nn

from esper_core.leyline.errors import EsperError
from esper_core.leyline.layouts import Layout
from esper_core.leyline.sites import Site

#: Models hide with -10000, the dtype's minimum or -inf; -10000 in half precision is a little more.
_HIDDEN = -9000.0
_EPSILON = 1e-12

#: Takes queries, keys and values, each (B, heads, T, D / heads), and returns what the queries gather, same shape.
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def unbuildable(blueprint: str, site: Site, why: str, fix: str) -> EsperError:
    """Return the error E404 to raise where a blueprint with these options cannot serve a site."""
    where = f'site "{site.id}" ({site.path or "the root module"}, {site.layout}, width {site.width})'
    return EsperError("E404", f'blueprint "{blueprint}" cannot be built', where=where, why=why, fix=fix)


def require_divisor(blueprint: str, site: Site, option: str, value: int) -> None:
    """Raise E404 unless the option's value divides the site's width."""
    if site.width % value:
        raise unbuildable(
            blueprint,
            site,
            why=f"`{option}` is {value}, which does not divide the width {site.width}",
            fix=f"set `{option}` to a divisor of the width, such as {_nearest_divisor(site.width, value)}",
        )


def require_features(blueprint: str, site: Site) -> None:
    """Raise E404 if the site has a single feature: whatever is normalised over it is zero, so nothing can learn."""
    if site.width == 1:
        raise unbuildable(
            blueprint,
            site,
            why="it normalises over the features of a position, and a single one minus its mean is always zero",
            fix="use a wider site, or another blueprint here",
        )


def _nearest_divisor(width: int, value: int) -> int:
    return min((d for d in range(1, width + 1) if width % d == 0), key=lambda d: abs(d - value))


def real_positions(mask: Tensor, batch: int, length: int) -> Tensor:
    """Return which positions are real, (batch, length) of bool: what a mask of attention says in any usual form.

    Args:
        mask: (B, T), (B, T, T), (B, 1, 1, T), (B, 1, T, T) or (B, heads, T, T), where B may be 1: booleans or integers,
            true where a position may be seen; floats that are added to scores: about 0 there, and the dtype's minimum,
            -inf or -10000 elsewhere; floats 1 and 0, if (B, T). In a mask for pairs, a position is real if any other
            sees it.
        batch, length: of the activation.

    Raises:
        ValueError: if the mask has another shape.
    """
    if mask.ndim not in (2, 3, 4) or mask.shape[0] not in (1, batch) or mask.shape[-1] != length:
        raise ValueError(f"a mask of shape {tuple(mask.shape)} does not fit {batch} samples of {length} positions")
    seen = _seen(mask)
    while seen.ndim > 2:
        seen = seen.any(dim=1)
    return seen.expand(batch, length)


def _seen(mask: Tensor) -> Tensor:
    if not mask.is_floating_point():
        return mask > 0
    added = mask > _HIDDEN
    if mask.ndim > 2:
        return added
    # Nothing positive is ever added; and a batch without a single real position is none. No branch: it would have to
    # wait for the device.
    return torch.where((mask > 0).any(), mask > 0, added)


def group_count(channels: int, smallest_group: int = 16) -> int:
    """Return a number of GroupNorm groups that divides `channels`.

    The largest of 32, 16, 8, 4, 2, 1 that divides the channels and leaves at least `smallest_group` channels in each
    group; 2 (or 1, if odd) where the channels are too few for that.
    """
    for groups in (32, 16, 8, 4, 2):
        if channels % groups == 0 and channels // groups >= smallest_group:
            return groups
    return 2 if channels % 2 == 0 and channels >= 4 else 1


def conv_norm(
    inputs: int, outputs: int, kernel: int = 3, *, groups: int = 1, dilation: int = 1, last: bool = False
) -> nn.Sequential:
    """Return a convolution (B, inputs, H, W) -> (B, outputs, H, W) followed by a GroupNorm.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: side of the square kernel; odd.
        groups, dilation: of the convolution.
        last: it is the end of a seed's body, in front of a `BoundedGain`: the normalisation has no parameters, which
            would undo the bound, and the convolution has a bias in their place.
    """
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, groups=groups, bias=last)
    return nn.Sequential(conv, nn.GroupNorm(group_count(outputs), outputs, affine=not last))


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which autocast leaves matrix products on `device` in the dtype of their operands."""
    # Autocast does not know every device; meta is one that it refuses.
    known = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()


def kept_within(y: Tensor, h: Tensor, layout: Layout, limit: float = 1.0) -> Tensor:
    """Return ``y / sqrt(1 + (r / limit)^2)`` with r = rms(y) / rms(h), in h's dtype: an update that cannot outgrow h.

    For a body whose last projections are zero at birth instead of a gain behind it. A small update is left as it is;
    for every image (NCHW), position (BTD) or vector (BD) rms(update) < limit * rms(h).
    """
    of_y, most = (torch.linalg.vector_norm(x.float(), dim=layout.row_axes, keepdim=True) for x in (y, limit * h))
    kept: Tensor = y * (most * torch.rsqrt(most.square() + of_y.square() + _EPSILON))
    return kept.to(h.dtype)


class BoundedGain(nn.Module):
    """The end of a residual update that cannot outgrow the activation: ``rms(h) * bounded(gain) * y``.

    `y` is what the seed made of `h`, normalised without parameters, so that its rms is at most 1; the gain, one per
    channel, is zero at birth. So the update is exactly zero at birth, the gain has a non-zero first gradient, and
    rms(update) <= rms(h) holds for every image (NCHW), position (BTD) or vector (BD) whatever the optimizer does.

    A free gain does not hold: with a learnable normalisation in front of it two factors feed each other's gradients
    and grow exponentially as long as nothing else pushes back, which is what isolated training is. The bound,
    ``g / sqrt(1 + g^2)``, never rounds to a slope of zero as tanh does beyond 9: no gain is lost for good.
    """

    def __init__(self, width: int, layout: Layout) -> None:
        super().__init__()
        self.axes = layout.row_axes
        self.broadcast = tuple(1 for _ in range(layout.rank - 1 - layout.width_axis))
        self.gain = nn.Parameter(torch.zeros(width))

    def forward(self, y: Tensor, h: Tensor) -> Tensor:
        """Return the update for `h`, in its dtype; `y` has its shape."""
        count = prod([h.shape[axis] for axis in self.axes])
        rms: Tensor = torch.linalg.vector_norm(h, dim=self.axes, keepdim=True) / count**0.5
        bounded = self.gain * (1 + self.gain.square()).rsqrt()
        return (y * bounded.view(-1, *self.broadcast) * rms).to(h.dtype)


class SelfAttention(nn.Module):
    """Multi-head self-attention around an `attend` function: project, split into heads, attend, join, project.

    Shape (B, T, width) in and out; `heads` must divide `width`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project_in = nn.Linear(width, 3 * width)
        self.project_out = nn.Linear(width, width)

    def forward(self, x: Tensor, attend: Attend) -> Tensor:
        """Return what each position of `x` gathers from the positions that `attend` lets it see."""
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, T, D) -> (B, heads, T, D / heads)
            for part in self.project_in(x).chunk(3, dim=-1)
        )
        collected: Tensor = self.project_out(attend(query, key, value).transpose(1, 2).flatten(2))
        return collected
