"""One convolution as a residual update."""

from torch import Tensor, nn

from esper_blueprint_conv_light.config import ConvLightConfig
from esper_core.api import Site
from esper_core.nn import ChannelGain, conv_norm


class ConvLight(nn.Module):
    """Returns ``gain * relu(norm(conv(h)))``; the gain, one per channel, is zero at birth.

    The normalisation bounds what the gain multiplies, so the update's size is that of the gain, not of the weights.
    """

    def __init__(self, site: Site, config: ConvLightConfig) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_norm(site.width, site.width, config.kernel), nn.ReLU())
        self.gain = ChannelGain(site.width, site.layout)

    def forward(self, h: Tensor) -> Tensor:
        """Return the update for `h`, (B, C, H, W)."""
        return self.gain(self.body(h)).to(h.dtype)
