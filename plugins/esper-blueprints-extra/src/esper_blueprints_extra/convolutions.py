"""Convolutions over images as residual updates."""

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esper_blueprints_extra.config import (
    DenseBlockConfig,
    DilatedConvConfig,
    DynamicConvConfig,
    GroupedConvConfig,
    LargeKernelConfig,
    PyramidPoolingConfig,
)
from esper_core.api import Site
from esper_core.nn import BoundedGain, conv_norm


class Convolutions(nn.Module):
    """Returns ``body(h)`` times a bounded gain per channel that is zero at birth; the body ends in a normalisation."""

    def __init__(self, site: Site, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)
        self.gain = BoundedGain(site.width, site.layout)

    def forward(self, h: Tensor) -> Tensor:
        """Return the update for `h`, (B, C, H, W)."""
        return cast(Tensor, self.gain(self.body(h), h))


class GroupedConv(Convolutions):
    """``norm(mix(relu(norm(conv(h)))))``: channels are convolved in groups, then all are mixed.

    Xie et al. 2017, https://arxiv.org/abs/1611.05431.
    """

    def __init__(self, site: Site, config: GroupedConvConfig) -> None:
        width = site.width
        groups = max(divisor for divisor in range(1, min(config.groups, width) + 1) if width % divisor == 0)
        super().__init__(
            site,
            conv_norm(width, width, config.kernel, groups=groups),
            nn.ReLU(),
            conv_norm(width, width, kernel=1, last=True),
        )


class DilatedConv(Convolutions):
    """``norm(mix(relu(norm(conv(h)))))`` with a kernel whose elements lie apart: it sees further at the same cost.

    Yu and Koltun 2016, https://arxiv.org/abs/1511.07122.
    """

    def __init__(self, site: Site, config: DilatedConvConfig) -> None:
        width = site.width
        super().__init__(
            site,
            conv_norm(width, width, config.kernel, dilation=config.dilation),
            nn.ReLU(),
            conv_norm(width, width, kernel=1, last=True),
        )


class LargeKernel(Convolutions):
    """``norm(down(gelu(up(norm(filter(h))))))``: a wide depthwise convolution and a perceptron at each position.

    Liu et al. 2022, https://arxiv.org/abs/2201.03545.
    """

    def __init__(self, site: Site, config: LargeKernelConfig) -> None:
        width, hidden = site.width, config.expansion * site.width
        super().__init__(
            site,
            conv_norm(width, width, config.kernel, groups=width),
            nn.Conv2d(width, hidden, 1),
            nn.GELU(),
            conv_norm(hidden, width, kernel=1, last=True),
        )


class DynamicConv(Convolutions):
    """``norm(mix(relu(norm(conv(h)))))`` with a kernel for each image, a mixture of several.

    A linear layer weights the kernels by the channels' means (Chen et al. 2020, https://arxiv.org/abs/1912.03458).
    Results are mixed instead of kernels, which is the same sum.
    """

    def __init__(self, site: Site, config: DynamicConvConfig) -> None:
        width = site.width
        super().__init__(
            site,
            MixedConv(width, config.kernel, config.experts),
            nn.ReLU(),
            conv_norm(width, width, kernel=1, last=True),
        )


class MixedConv(nn.Module):
    """A normalised convolution, (B, C, H, W) in and out, whose kernel is a mixture that the image decides."""

    def __init__(self, width: int, kernel: int, experts: int) -> None:
        super().__init__()
        self.experts = experts
        self.convs = nn.Conv2d(width, experts * width, kernel, padding=kernel // 2, bias=False)
        self.router = nn.Linear(width, experts)
        self.norm = nn.GroupNorm(1, width)

    def forward(self, h: Tensor) -> Tensor:
        """Return the mixed convolution of `h`."""
        # Normalised first, so that the mixture does not depend on the magnitude of h.
        means = F.group_norm(h, 1).mean(dim=(2, 3))
        shares = self.router(means).softmax(dim=-1)  # (B, experts)
        # Added one by one: a view of five axes would lose the memory format.
        mixed = sum(
            part * shares[:, expert, None, None, None]
            for expert, part in enumerate(self.convs(h).chunk(self.experts, dim=1))
        )
        return cast(Tensor, self.norm(mixed))


class DenseBlock(Convolutions):
    """``norm(mix(all))``, where each layer sees the input and what all layers before it have added to it.

    Huang et al. 2017, https://arxiv.org/abs/1608.06993, with the mixing end of Zhang et al. 2018.
    """

    def __init__(self, site: Site, config: DenseBlockConfig) -> None:
        widths = [site.width + layer * config.growth for layer in range(config.layers + 1)]
        layers = (Concatenated(before, after - before) for before, after in pairwise(widths))
        super().__init__(site, *layers, conv_norm(widths[-1], site.width, kernel=1, last=True))


class Concatenated(nn.Module):
    """(B, C, H, W) -> (B, C + growth, H, W): the input, and behind it a normalised convolution of it."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(conv_norm(width, growth), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Return the input and what is added."""
        return torch.cat((x, self.layer(x)), dim=1)


class PyramidPooling(Convolutions):
    """``norm(mix(relu(sum)))``: means of `h` over coarse grids, each mixed, brought back to full size and added.

    Zhao et al. 2017, https://arxiv.org/abs/1612.01105.
    """

    def __init__(self, site: Site, config: PyramidPoolingConfig) -> None:
        super().__init__(
            site,
            Pooled(site.width, config.levels),
            nn.ReLU(),
            conv_norm(site.width, site.width, kernel=1, last=True),
        )


class Pooled(nn.Module):
    """The sum of means over grids of 1, 2 x 2, 4 x 4 … cells, (B, C, H, W) in and out."""

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        self.mixes = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(levels))

    def forward(self, h: Tensor) -> Tensor:
        """Return the sum for `h`."""
        total = torch.zeros_like(h)  # in the memory format of h, which a grid of one cell has lost
        for level, mix in enumerate(self.mixes):
            total = total + F.interpolate(mix(F.adaptive_avg_pool2d(h, 2**level)), size=h.shape[2:])
        return total
