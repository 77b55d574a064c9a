"""A convolution between two 1x1 projections as a residual update."""

from torch import Tensor, nn

from esper_blueprint_bottleneck.config import BottleneckConfig
from esper_core.api import Site
from esper_core.nn import BoundedGain, conv_norm


class Bottleneck(nn.Module):
    """Returns ``norm(up(relu(norm(conv(relu(norm(down(h))))))))`` times a bounded gain that is zero at birth.

    `down` and `up` are 1x1 convolutions to ``ratio * width`` channels and back, `conv` is 3x3 between them
    (He et al. 2016, https://arxiv.org/abs/1512.03385, with GroupNorm).
    """

    def __init__(self, site: Site, config: BottleneckConfig) -> None:
        super().__init__()
        inner = max(1, round(config.ratio * site.width))
        self.body = nn.Sequential(
            conv_norm(site.width, inner, kernel=1),
            nn.ReLU(),
            conv_norm(inner, inner),
            nn.ReLU(),
            conv_norm(inner, site.width, kernel=1, last=True),
        )
        self.gain = BoundedGain(site.width, site.layout)

    def forward(self, h: Tensor) -> Tensor:
        """Return the update for `h`, (B, C, H, W)."""
        return self.gain(self.body(h), h)
