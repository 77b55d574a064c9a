"""A group normalisation as a residual update."""

from torch import Tensor, nn
from torch.nn import functional as F

from esper_blueprint_group_norm.config import GroupNormConfig
from esper_core.api import EsperError, Site
from esper_core.nn import ChannelGain, group_count


class GroupNormUpdate(nn.Module):
    """Returns ``gain * normalised(h) + shift``; gain and shift, one per channel, are zero at birth.

    h is (B, C, H, W); each group of channels of each sample has mean 0 and variance 1 before the gain
    (Wu & He 2018, https://arxiv.org/abs/1803.08494).

    Raises:
        EsperError: E404 if `config.groups` does not divide the site's width.
    """

    def __init__(self, site: Site, config: GroupNormConfig) -> None:
        super().__init__()
        self.groups = config.groups or group_count(site.width)
        if site.width % self.groups:
            raise EsperError(
                "E404",
                f'blueprint "group-norm" cannot be built for site "{site.id}"',
                where=f'site "{site.id}" ({site.path})',
                why=f"{self.groups} groups do not divide its width of {site.width} channels",
                fix="set `groups` to a divisor of the width, or leave it out to have it chosen",
            )
        self.gain = ChannelGain(site.width, site.layout, shift=True)

    def forward(self, h: Tensor) -> Tensor:
        """Return the update for `h`, (B, C, H, W)."""
        # Without parameters of its own the normalisation has no backward where h needs no gradient: torch's native
        # backward of GroupNorm crashes the process for channels_last inputs of that kind on the CPU.
        return self.gain(F.group_norm(h, self.groups)).to(h.dtype)
