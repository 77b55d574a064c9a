"""Small torch helpers for blueprints and hosts."""

import torch
from torch import Tensor, nn

from esper_core.leyline.sites import Layout


def group_count(channels: int, smallest_group: int = 16) -> int:
    """Return a number of GroupNorm groups that divides `channels`.

    The largest of 32, 16, 8, 4, 2, 1 that divides the channels and leaves at least `smallest_group` channels in each
    group; 2 (or 1, if odd) where the channels are too few for that.
    """
    for groups in (32, 16, 8, 4, 2):
        if channels % groups == 0 and channels // groups >= smallest_group:
            return groups
    return 2 if channels % 2 == 0 and channels >= 4 else 1


def conv_norm(inputs: int, outputs: int, kernel: int = 3, groups: int = 1) -> nn.Sequential:
    """Return a convolution (B, inputs, H, W) -> (B, outputs, H, W) without bias, followed by a GroupNorm.

    `kernel` must be odd; `groups` are those of the convolution.
    """
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.GroupNorm(group_count(outputs), outputs))


class ChannelGain(nn.Module):
    """Multiplies each channel by a learnable gain that is zero at birth, and adds a learnable shift if asked.

    Placed last in a residual update it makes the update exactly zero while the gain itself gets a non-zero first
    gradient. Shape in = shape out; `layout` says which axis holds the `width` channels.
    """

    def __init__(self, width: int, layout: Layout, *, shift: bool = False) -> None:
        super().__init__()
        self.axes = tuple(1 for _ in range(layout.rank - 1 - layout.width_axis))
        self.gain = nn.Parameter(torch.zeros(width))
        self.shift = nn.Parameter(torch.zeros(width)) if shift else None

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x * gain + shift`` along the width axis, in the dtype of x."""
        y = x * self.gain.to(x.dtype).view(-1, *self.axes)
        return y if self.shift is None else y + self.shift.to(x.dtype).view(-1, *self.axes)
