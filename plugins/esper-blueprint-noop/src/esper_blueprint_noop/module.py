"""The update that is always zero."""

import torch
from torch import Tensor, nn

from esper_core.api import Site


class Noop(nn.Module):
    """Returns zeros with h's shape, dtype and memory format, even where h is NaN or infinite."""

    def __init__(self, site: Site, config: None = None) -> None:
        super().__init__()

    def forward(self, h: Tensor) -> Tensor:
        """Return zeros like `h`."""
        return torch.zeros_like(h)
