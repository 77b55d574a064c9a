"""A depthwise separable convolution as a residual update."""

from torch import Tensor, nn

from esper_blueprint_depthwise.config import DepthwiseConfig
from esper_core.api import Site
from esper_core.nn import BoundedGain, conv_norm


class Depthwise(nn.Module):
    """Returns ``norm(mix(relu(norm(filter(h)))))`` times a bounded gain per channel that is zero at birth.

    `filter` convolves each channel with its own kernel, `mix` is a 1x1 convolution over all channels
    (Howard et al. 2017, https://arxiv.org/abs/1704.04861, with the linear end of Sandler et al. 2018).
    """

    def __init__(self, site: Site, config: DepthwiseConfig) -> None:
        super().__init__()
        width = site.width
        self.body = nn.Sequential(
            conv_norm(width, width, config.kernel, groups=width),
            nn.ReLU(),
            conv_norm(width, width, kernel=1, last=True),
        )
        self.gain = BoundedGain(width, site.layout)

    def forward(self, h: Tensor) -> Tensor:
        """Return the update for `h`, (B, C, H, W)."""
        return self.gain(self.body(h), h)
