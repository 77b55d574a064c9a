"""Blueprints with a zero output projection in place of their normalisation and gain of zero: what is compared."""

from torch import Tensor, nn

from esper_core.api import Site
from esper_core.nn import group_count, kept_within


class Within(nn.Module):
    """Stands in the place of a `BoundedGain`: lets a small update pass, and none outgrow the activation."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.layout = site.layout

    def forward(self, y: Tensor, h: Tensor) -> Tensor:
        return kept_within(y, h, self.layout)


def zero_born(name: str, seed: nn.Module, site: Site) -> nn.Module | None:
    """Return the seed with its last projection zero, and without normalisation and gain behind it; None if it has none.

    `conv-light`, which is one convolution in front of a normalisation and ReLU, has them in front of it instead.
    """
    if name in ("attention", "flex-attention"):
        seed.norm_out, last = nn.Identity(), seed.attention.project_out
    elif name == "mlp":
        seed.body[-1], last = nn.Identity(), seed.body[-2]
    elif name in ("conv-heavy", "depthwise", "bottleneck"):
        seed.body[-1][1], last = nn.Identity(), seed.body[-1][0]
    elif name == "conv-light":
        last = seed.body[0][0]
        seed.body = nn.Sequential(nn.GroupNorm(group_count(site.width), site.width, affine=False), nn.ReLU(), last)
    else:
        return None
    seed.gain = Within(site)
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
    return seed
