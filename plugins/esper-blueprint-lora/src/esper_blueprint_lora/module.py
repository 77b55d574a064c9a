"""A low-rank linear map as a residual update."""

import torch
from torch import Tensor, nn

from esper_blueprint_lora.config import LoraConfig
from esper_core.api import Site
from esper_core.nn import full_precision, unbuildable


class Lora(nn.Module):
    """Returns ``M x`` with M = s * up * down of low rank; `up` is zero at birth (Hu et al. 2022, arXiv 2106.09685).

    At a site that is a linear or convolutional layer, x is the layer's input: the grown layer has the weight W + M. At
    any other site x is the activation h.

    A normalisation at the end would bound the update but could not be merged into the layer. So s keeps the norm of M
    at or below a limit, and M remains one matrix: ``limit * |W|`` for the layer's own weight as it was when the seed
    was built, and `limit` elsewhere. Below it s is 1, and this is LoRA as in PEFT, with ``lora_alpha = r``.

    Raises:
        EsperError: E404 for a convolution with groups, or whose padding is not zeros.
    """

    weight_norm: Tensor

    def __init__(self, site: Site, config: LoraConfig, module: nn.Module | None = None) -> None:
        super().__init__()
        self.limit = config.limit
        self.fed = bool(site.input_shape) and isinstance(module, nn.Linear | nn.Conv2d)
        self.down, self.up = _factors(site, config.rank, module) if self.fed else _linear(site.width, site, config.rank)
        nn.init.zeros_(self.up.weight)
        if self.fed:
            self.register_buffer("weight_norm", _norm(module.weight))

    def forward(self, h: Tensor, x: Tensor | None = None) -> Tensor:
        """Return the update for `h`, (B, T, D); at a linear or convolutional site of any layout, from its input `x`."""
        return (self.up(self.down(x if self.fed else h)) * self.scale()).to(h.dtype)

    def matrix(self) -> Tensor:
        """Return M: what is added to the weight of the site's layer, in its shape; (D, D) where the seed takes h.

        There ``seed(h) == h @ seed.matrix().T``, so the seed can be merged into a linear layer in front of it as well.
        """
        down = self.down.weight
        product: Tensor = self.scale() * (self.up.weight.flatten(1) @ down.flatten(1))
        return product.unflatten(1, down.shape[1:])

    def scale(self) -> Tensor:
        """Return s, at most 1.

        The Schatten 8-norm, (sum of the eighth powers of the singular values) to the power 1/8, is between the
        spectral norm and rank^(1/8) times it; unlike the spectral norm it needs no decomposition.
        """
        up, down = self.up.weight.flatten(1).float(), self.down.weight.flatten(1).float()
        limit = (self.limit * (self.weight_norm if self.fed else 1.0)) ** 2
        with full_precision(up.device):
            gram = (up.T @ up) @ (down @ down.T)  # its eigenvalues: the squared singular values of up * down
            size = gram.trace().clamp(min=limit)  # the squared Frobenius norm; divided out, so powers cannot overflow
            relative = gram / size
            fourth = relative @ relative
        eighth = (fourth * fourth.T).sum()
        # Clamped before the root, because its slope at zero (at birth) is infinite.
        squared_norm = size * eighth.clamp(min=(limit / size) ** 4) ** 0.25
        return (limit / squared_norm).sqrt()


def _linear(inputs: int, site: Site, most: int) -> tuple[nn.Module, nn.Module]:
    rank = min(most, inputs, site.width)
    return nn.Linear(inputs, rank, bias=False), nn.Linear(rank, site.width, bias=False)


def _factors(site: Site, most: int, layer: nn.Module | None) -> tuple[nn.Module, nn.Module]:
    """Return both factors for a layer: the first does what the layer does, to fewer features."""
    if not isinstance(layer, nn.Conv2d):
        return _linear(site.input_shape[-1], site, most)
    if layer.groups > 1 or layer.padding_mode != "zeros":
        why = (
            "the site's convolution has groups, or its padding is not zeros: no low-rank update of its weight is simple"
        )
        raise unbuildable("lora", site, why=why, fix="use another blueprint here")
    rank = min(most, layer.in_channels, layer.out_channels)
    shape = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
    down = nn.Conv2d(layer.in_channels, rank, layer.kernel_size, bias=False, **shape)
    return down, nn.Conv2d(rank, layer.out_channels, 1, bias=False)


def _norm(weight: Tensor) -> Tensor:
    """The spectral norm; 1 where the weight is packed, or all zero."""
    if not weight.is_floating_point():
        return torch.ones(())
    norm = torch.linalg.matrix_norm(weight.detach().float().flatten(1), ord=2)
    return torch.where(norm > 0, norm, torch.ones_like(norm))
