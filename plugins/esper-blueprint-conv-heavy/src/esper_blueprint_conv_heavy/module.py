"""Two convolutions as a residual update."""

from torch import Tensor, nn

from esper_blueprint_conv_heavy.config import ConvHeavyConfig
from esper_core.api import Site
from esper_core.nn import BoundedGain, conv_norm


class ConvHeavy(nn.Module):
    """Returns ``norm(conv(relu(norm(conv(h)))))`` times a bounded gain per channel that is zero at birth.

    The first 3x3 convolution widens to ``expansion * width`` channels, the second comes back.
    """

    def __init__(self, site: Site, config: ConvHeavyConfig) -> None:
        super().__init__()
        inner = config.expansion * site.width
        self.body = nn.Sequential(conv_norm(site.width, inner), nn.ReLU(), conv_norm(inner, site.width, last=True))
        self.gain = BoundedGain(site.width, site.layout)

    def forward(self, h: Tensor) -> Tensor:
        """Return the update for `h`, (B, C, H, W)."""
        return self.gain(self.body(h), h)
