"""A convolution along sequences as a residual update."""

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from esper_blueprints_extra.config import TemporalConvConfig
from esper_core.api import Site
from esper_core.nn import BoundedGain, require_features


class TemporalConv(nn.Module):
    """Returns ``norm(mix(gelu(filter(norm(h)))))`` times a bounded gain per feature that is zero at birth.

    h is (B, T, D). `filter` convolves each feature along the positions, `mix` is a linear layer over all features. If
    the site is causal, position t only sees positions up to t (Bai et al. 2018, https://arxiv.org/abs/1803.01271).

    Raises:
        EsperError: E404 if the site has only one feature.
    """

    def __init__(self, site: Site, config: TemporalConvConfig) -> None:
        super().__init__()
        require_features("temporal-conv", site)
        width, reach = site.width, (config.kernel - 1) * config.dilation
        self.padding = (reach, 0) if site.causal else (reach // 2, reach // 2)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.filter = nn.Conv1d(width, width, config.kernel, dilation=config.dilation, groups=width)
        self.mix = nn.Linear(width, width)
        self.gain = BoundedGain(width, site.layout)

    def forward(self, h: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the update for `h`, (B, T, D).

        Args:
            h: the activation.
            mask: (B, T) of bool, False where a position is padding; no other position sees it.
        """
        x = self.norm(h)
        if mask is not None:
            x = x * mask.unsqueeze(-1)
        filtered = self.filter(F.pad(x.transpose(1, 2), self.padding)).transpose(1, 2)
        return cast(Tensor, self.gain(self.norm(self.mix(F.gelu(filtered))), h))
