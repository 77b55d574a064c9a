"""One convolution as a residual update."""

from torch import Tensor, nn

from esper_blueprint_conv_light.config import ConvLightConfig
from esper_core.api import Site
from esper_core.nn import BoundedGain, conv_norm


class ConvLight(nn.Module):
    """Returns ``relu(norm(conv(h)))`` times a bounded gain per channel that is zero at birth."""

    def __init__(self, site: Site, config: ConvLightConfig) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_norm(site.width, site.width, config.kernel, last=True), nn.ReLU())
        self.gain = BoundedGain(site.width, site.layout)

    def forward(self, h: Tensor) -> Tensor:
        """Return the update for `h`, (B, C, H, W)."""
        return self.gain(self.body(h), h)
