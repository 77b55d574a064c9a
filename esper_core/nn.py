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


class ChannelGain(nn.Module):
    """Multiplies each channel by a learnable gain that is zero at birth.

    Placed last in a residual update it makes the update exactly zero while the gain itself gets a non-zero first
    gradient. Shape in = shape out; `layout` says which axis holds the `width` channels.
    """

    def __init__(self, width: int, layout: Layout) -> None:
        super().__init__()
        self.axes = tuple(1 for _ in range(layout.rank - 1 - layout.width_axis))
        self.gain = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x * gain`` along the width axis."""
        return x * self.gain.to(x.dtype).view(-1, *self.axes)
