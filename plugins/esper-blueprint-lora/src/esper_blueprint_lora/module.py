"""A low-rank linear map as a residual update."""

from torch import Tensor, nn

from esper_blueprint_lora.config import LoraConfig
from esper_core.api import Site
from esper_core.nn import full_precision


class Lora(nn.Module):
    """Returns ``M h`` with M = s · up · down of low rank; `up` is zero at birth (Hu et al. 2022, arXiv 2106.09685).

    A normalisation at the end would bound the update but could not be merged into a linear layer. So s keeps the
    norm of M at or below `config.limit`: the update's norm is at most ``limit * |h|``, and M remains a single matrix.
    """

    def __init__(self, site: Site, config: LoraConfig) -> None:
        super().__init__()
        self.limit = config.limit
        rank = min(config.rank, site.width)
        self.down = nn.Linear(site.width, rank, bias=False)
        self.up = nn.Linear(rank, site.width, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, h: Tensor) -> Tensor:
        """Return the update for `h`, (B, T, D)."""
        return (self.up(self.down(h)) * self.scale()).to(h.dtype)

    def matrix(self) -> Tensor:
        """Return M, (D, D): ``seed(h) == h @ seed.matrix().T``, so the seed can be merged into a linear layer."""
        return self.scale() * (self.up.weight @ self.down.weight)

    def scale(self) -> Tensor:
        """Return s, at most 1.

        The Schatten 8-norm, (sum of the eighth powers of the singular values) to the power 1/8, is between the
        spectral norm and rank^(1/8) times it; unlike the spectral norm it needs no decomposition.
        """
        up, down = self.up.weight.float(), self.down.weight.float()
        limit = self.limit**2
        with full_precision(up.device):
            gram = (up.T @ up) @ (down @ down.T)  # its eigenvalues: the squared singular values of up · down
            size = gram.trace().clamp(min=limit)  # the squared Frobenius norm; divided out, so powers cannot overflow
            relative = gram / size
            fourth = relative @ relative
        eighth = (fourth * fourth.T).sum()
        # Clamped before the root, because its slope at zero (at birth) is infinite.
        squared_norm = size * eighth.clamp(min=(limit / size) ** 4) ** 0.25
        return (limit / squared_norm).sqrt()
