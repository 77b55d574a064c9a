"""Gates and attention over images as residual updates."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esper_blueprints_extra.config import ChannelAttentionConfig, NonLocalConfig, SpatialAttentionConfig
from esper_core.api import Site
from esper_core.nn import BoundedGain


class ChannelAttention(nn.Module):
    """Returns ``h * (gate - 1)`` with a gate for each image and channel, between 0 and 2 and exactly 1 at birth.

    The gate is computed from the means of neighbouring channels (Wang et al. 2020, https://arxiv.org/abs/1910.03151),
    so that a handful of parameters serves any width. The update is nowhere larger than h.
    """

    def __init__(self, site: Site, config: ChannelAttentionConfig) -> None:
        super().__init__()
        self.logits = nn.Conv1d(1, 1, config.kernel, padding=config.kernel // 2)
        nn.init.zeros_(self.logits.weight)
        assert self.logits.bias is not None
        nn.init.zeros_(self.logits.bias)

    def forward(self, h: Tensor) -> Tensor:
        """Return the update for `h`, (B, C, H, W)."""
        z = self.logits(h.mean(dim=(2, 3)).unsqueeze(1)).squeeze(1)  # (B, C)
        return (h * excess(z)[:, :, None, None]).to(h.dtype)


class SpatialAttention(nn.Module):
    """Returns ``h * (gate - 1)`` with a gate for each position, between 0 and 2 and exactly 1 at birth.

    The gate is a convolution of the channels' mean and maximum (Woo et al. 2018, https://arxiv.org/abs/1807.06521). The
    update is nowhere larger than h.
    """

    def __init__(self, site: Site, config: SpatialAttentionConfig) -> None:
        super().__init__()
        self.logits = nn.Conv2d(2, 1, config.kernel, padding=config.kernel // 2)
        nn.init.zeros_(self.logits.weight)
        assert self.logits.bias is not None
        nn.init.zeros_(self.logits.bias)

    def forward(self, h: Tensor) -> Tensor:
        """Return the update for `h`, (B, C, H, W)."""
        z = self.logits(torch.cat((h.mean(dim=1, keepdim=True), h.amax(dim=1, keepdim=True)), dim=1))
        return (h * excess(z)).to(h.dtype)


class NonLocal(nn.Module):
    """Returns ``norm(attention(norm(h)))`` over all positions times a bounded gain per channel, zero at birth.

    Every position gathers from means of small squares of positions (Wang et al. 2018,
    https://arxiv.org/abs/1711.07971).
    """

    def __init__(self, site: Site, config: NonLocalConfig) -> None:
        super().__init__()
        width, compared = site.width, max(1, site.width // config.reduction)
        self.pool = config.pool
        self.query = nn.Conv2d(width, compared, 1)
        self.key = nn.Conv2d(width, compared, 1)
        self.value = nn.Conv2d(width, width, 1)
        self.gain = BoundedGain(width, site.layout)

    def forward(self, h: Tensor) -> Tensor:
        """Return the update for `h`, (B, C, H, W)."""
        x = F.group_norm(h, 1)
        seen = F.avg_pool2d(x, self.pool, ceil_mode=True) if self.pool > 1 else x
        query, key, value = (
            projection(image).flatten(2).transpose(1, 2)  # (B, features, H, W) -> (B, positions, features)
            for projection, image in ((self.query, x), (self.key, seen), (self.value, seen))
        )
        gathered = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(h.shape)
        # Added to zeros, because that gives it the memory format of h.
        return cast(Tensor, self.gain(F.group_norm(torch.zeros_like(h) + gathered, 1), h))


def excess(z: Tensor) -> Tensor:
    """Return how far a gate is above 1, between -1 and 1; its slope, unlike a sigmoid's, never rounds to zero."""
    return z * (1 + z.square()).rsqrt()
