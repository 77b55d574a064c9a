"""A channel gate as a residual update."""

from torch import Tensor, nn

from esper_blueprint_squeeze_excite.config import SqueezeExciteConfig
from esper_core.api import Site


class SqueezeExcite(nn.Module):
    """Returns ``h * (gate - 1)`` with one gate per sample and channel, between 0 and 2 and exactly 1 at birth.

    ``gate = 2 sigmoid(z)``, where a small perceptron computes z from the channels' means (Hu et al. 2018,
    https://arxiv.org/abs/1709.01507; their gate, sigmoid(z), would halve the activation at birth). The update is
    nowhere larger than h.
    """

    def __init__(self, site: Site, config: SqueezeExciteConfig) -> None:
        super().__init__()
        hidden = max(1, site.width // config.reduction)
        # SiLU, not ReLU: with one or two hidden units, a dead unit would stop the first layer from learning.
        self.logits = nn.Sequential(nn.Linear(site.width, hidden), nn.SiLU(), nn.Linear(hidden, site.width))
        nn.init.zeros_(self.logits[-1].weight)
        nn.init.zeros_(self.logits[-1].bias)

    def forward(self, h: Tensor) -> Tensor:
        """Return the update for `h`, (B, C, H, W)."""
        z = self.logits(h.mean(dim=(2, 3)))  # (B, C)
        excess = (z / 2).tanh()  # 2 sigmoid(z) - 1, without the cancellation
        return (h * excess[:, :, None, None]).to(h.dtype)
