"""Activations of random numbers, to compare what is said of a module with what it does."""

import torch
from torch import Tensor

from esper_core.leyline.sites import Site


def probe_activation(site: Site, like: Tensor) -> Tensor:
    """Return an activation of random numbers for two samples, of `like`'s dtype, where `like` is."""
    return torch.randn(site.shape(2), generator=torch.Generator().manual_seed(0)).to(like)


def agree(one: Tensor, other: Tensor) -> bool:
    """Say whether two results are the same but for rounding; numbers that are not finite agree with nothing."""
    tolerance = torch.finfo(one.dtype).eps ** 0.5 * one.abs().amax()
    return one.shape == other.shape and bool(((one - other).abs() <= tolerance).all())
