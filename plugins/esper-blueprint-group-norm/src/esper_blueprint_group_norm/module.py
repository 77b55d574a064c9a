"""A group normalisation as a residual update."""

from torch import Tensor, nn
from torch.nn import functional as F

from esper_blueprint_group_norm.config import GroupNormConfig
from esper_core.api import Site
from esper_core.nn import BoundedGain, group_count, require_divisor


class GroupNormUpdate(nn.Module):
    """Returns ``normalised(h)`` times a bounded gain per channel that is zero at birth.

    h is (B, C, H, W); each group of channels of each sample has mean 0 and variance 1 before the gain
    (Wu & He 2018, https://arxiv.org/abs/1803.08494).

    Raises:
        EsperError: E404 if `config.groups` does not divide the site's width.
    """

    def __init__(self, site: Site, config: GroupNormConfig) -> None:
        super().__init__()
        self.groups = config.groups or group_count(site.width)
        require_divisor("group-norm", site, "groups", self.groups)
        self.gain = BoundedGain(site.width, site.layout)

    def forward(self, h: Tensor) -> Tensor:
        """Return the update for `h`, (B, C, H, W)."""
        # A normalisation without parameters runs no backward if h needs no gradient. That matters on the CPU, where
        # torch's native backward of GroupNorm crashes the process for such inputs in channels_last.
        return self.gain(F.group_norm(h, self.groups), h)
