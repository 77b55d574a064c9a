"""Coordinate attention as a residual update."""

import torch
from esper_core.api import Site
from torch import Tensor, nn
from torch.nn import functional as F

from esper_blueprint_example.config import CoordinateAttentionConfig


class CoordinateAttention(nn.Module):
    """Returns ``h * (gate - 1)`` with a gate for each sample, channel, row and column, 1 at birth.

    ``gate = 2 sigmoid(rows + columns)``, where `rows` is computed from the means of the rows, and `columns` from the
    means of the columns (Hou et al. 2021, https://arxiv.org/abs/2103.02907). Squeeze-and-excitation sees what is in an
    image; coordinate attention also sees where it is. Three changes make it a seed. The two gates are combined in one
    sigmoid, so no value of the update is larger than that of the activation. The last layers are zero at birth, so the
    gate is 1. There is no BatchNorm, so a sample does not depend on the others in its batch.
    """

    def __init__(self, site: Site, config: CoordinateAttentionConfig) -> None:
        super().__init__()
        hidden = max(1, site.width // config.reduction)
        self.squeeze = nn.Conv2d(site.width, hidden, kernel_size=1)
        self.rows = _zero(nn.Conv2d(hidden, site.width, kernel_size=1))
        # One bias is enough: the two are added.
        self.columns = _zero(nn.Conv2d(hidden, site.width, kernel_size=1, bias=False))

    def forward(self, h: Tensor) -> Tensor:
        """Return the update for `h`, (B, C, H, W)."""
        # Rows and columns share the squeeze, so they use the same features. SiLU, not ReLU: with one hidden channel, a
        # dead unit would stop the layer before it from learning.
        rows = F.silu(self.squeeze(h.mean(dim=3, keepdim=True)))  # (B, hidden, H, 1)
        columns = F.silu(self.squeeze(h.mean(dim=2, keepdim=True)))  # (B, hidden, 1, W)
        # 2 sigmoid(z) - 1 is tanh(z / 2), without the cancellation.
        excess = torch.tanh((self.rows(rows) + self.columns(columns)) / 2)  # (B, C, H, W)
        return (h * excess).to(h.dtype)


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
