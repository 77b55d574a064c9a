"""A residual block as a residual update."""

from torch import Tensor, nn

from esper_blueprint_residual_block.config import ResidualBlockConfig
from esper_core.api import Site
from esper_core.nn import conv_norm, kept_within

_KERNEL = 3


class ResidualBlock(nn.Module):
    """Returns ``conv(relu(norm(conv(h))))``; the last convolution is zero at birth (Goyal et al. 2017, section 5.1).

    h is (B, C, H, W). The update is exactly zero at birth and has a non-zero first gradient; it is kept below
    ``config.limit`` times h (`esper_core.nn.kept_within`).
    """

    def __init__(self, site: Site, config: ResidualBlockConfig, module: nn.Module) -> None:
        super().__init__()
        self.layout, self.limit = site.layout, config.limit
        inner, kernel = config.expansion * site.width, config.kernel or kernel_of(module)
        self.body = nn.Sequential(conv_norm(site.width, inner, kernel), nn.ReLU())
        self.last = nn.Conv2d(inner, site.width, kernel, padding=kernel // 2)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, h: Tensor) -> Tensor:
        """Return the update for `h`, (B, C, H, W)."""
        return kept_within(self.last(self.body(h)), h, self.layout, self.limit)


def kernel_of(module: nn.Module) -> int:
    """Return the side of the largest odd square kernel in a submodule; 3 if there is none above 1."""
    kernels = [part.kernel_size for part in module.modules() if isinstance(part, nn.Conv2d)]
    sides = [height for height, width in kernels if height == width and height % 2 == 1 and height > 1]
    return max(sides, default=_KERNEL)
