"""Submodules of sites, for blueprints whose factory is shown one: small residual blocks of every layout."""

import torch
from torch import Tensor, nn

from esper_core.leyline.layouts import Layout
from esper_core.leyline.sites import Site
from esper_core.nn import conv_norm


class ResidualBlock(nn.Module):
    """Returns ``x + body(x)``."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the next block is given; `x` has the same shape."""
        result: Tensor = x + self.body(x)
        return result


def site_module(site: Site) -> nn.Module:
    """Return a submodule as a host may have it at the site: a trained residual block that keeps shape and causality.

    At a site whose input is known it is a linear or convolutional layer.

    It is the same every time, on the CPU whatever the default device, and torch's generator stays as it is.
    """
    width, hidden = site.width, 2 * site.width
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if site.input_shape:
            inputs = site.input_shape[site.layout.width_axis - 1]
            image = site.layout is Layout.NCHW
            return nn.Conv2d(inputs, width, 3, padding=1) if image else nn.Linear(inputs, width)
        if site.layout is Layout.NCHW:
            return ResidualBlock(conv_norm(width, width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1))
        norm = [nn.LayerNorm(width)] if site.layout is Layout.BTD else []
        return ResidualBlock(*norm, nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
