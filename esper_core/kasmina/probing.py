"""Activations of random numbers, to compare what is said of a module with what it does."""

import torch
from torch import Tensor

from esper_core.leyline.sites import Site


def probe_arguments(
    site: Site, stream: int, like: Tensor, *, masked: bool = False, fed: bool = False
) -> tuple[Tensor, ...]:
    """Return what a seed is called with, of random numbers for two samples, of `like`'s dtype, where `like` is.

    Args:
        site: where the activation would occur.
        stream: seed of the random numbers.
        like: any tensor.
        masked: a padding mask stands beside the activation.
        fed: the input of the site's submodule stands beside it, where that is known.
    """
    generator = torch.Generator().manual_seed(stream)
    shapes = [site.shape(2)] + [(2, *site.input_shape)] * (fed and bool(site.input_shape))
    tensors = [torch.randn(shape, generator=generator).to(like) for shape in shapes]
    if masked:
        tensors.append(torch.ones(tensors[0].shape[:2], dtype=torch.bool, device=like.device))
        tensors[1][1, -1] = False
    return tuple(tensors)


def agree(one: Tensor, other: Tensor) -> bool:
    """Say whether two results are the same but for rounding; numbers that are not finite agree with nothing."""
    tolerance = torch.finfo(one.dtype).eps ** 0.5 * one.abs().amax()
    return one.shape == other.shape and bool(((one - other).abs() <= tolerance).all())
