"""A layer normalisation as a residual update."""

from torch import Tensor, nn
from torch.nn import functional as F

from esper_core.api import Site
from esper_core.nn import BoundedGain, require_features


class LayerNormUpdate(nn.Module):
    """Returns ``normalised(h)`` times a bounded gain per feature that is zero at birth.

    h is (B, T, D); each position has mean 0 and variance 1 before the gain (Ba et al. 2016,
    https://arxiv.org/abs/1607.06450).

    Raises:
        EsperError: E404 if the site has only one feature.
    """

    def __init__(self, site: Site, config: None = None) -> None:
        super().__init__()
        require_features("layer-norm", site)
        self.gain = BoundedGain(site.width, site.layout)

    def forward(self, h: Tensor) -> Tensor:
        """Return the update for `h`, (B, T, D)."""
        return self.gain(F.layer_norm(h, h.shape[-1:]), h)
