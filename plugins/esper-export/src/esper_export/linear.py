"""Seeds whose update is linear: merged into a linear layer, or written as two."""

import torch
from torch import Tensor, nn

from esper_core.kasmina.probing import agree
from esper_core.leyline.protocols import LinearUpdate

#: Singular values below this part of the largest one are what rounding has left of a zero.
_NEGLIGIBLE = 1e-6


def linear_matrix(seed: nn.Module, probe: Tensor) -> Tensor | None:
    """Return M, (D, D) in float64, of a seed that declares itself a `LinearUpdate` and is one; None of any other.

    Args:
        seed: a seed module.
        probe: an activation with D features in its last axis, to hold the declaration against.
    """
    # A method of the class: a parameter or submodule of that name declares nothing.
    if not (isinstance(seed, LinearUpdate) and callable(getattr(type(seed), "matrix", None))):
        return None
    with torch.no_grad():
        matrix = seed.matrix().double()
        true = matrix.shape == (probe.shape[-1], probe.shape[-1]) and agree(seed(probe), (probe.double() @ matrix.T))
    return matrix if true else None


def merge_into(layer: nn.Linear, matrix: Tensor) -> None:
    """Let a layer that computes y compute ``y + M y``: its weight becomes (I + M) W, its bias (I + M) b."""
    with torch.no_grad():
        grown = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device) + matrix
        layer.weight = _parameter(grown @ layer.weight.double(), layer.weight)
        if layer.bias is not None:
            layer.bias = _parameter(grown @ layer.bias.double(), layer.bias)


def as_two_layers(matrix: Tensor, like: Tensor) -> nn.Sequential:
    """Return two linear layers without bias that compute ``h @ M.T`` with as few numbers as M's rank allows.

    Args:
        matrix: M, (D, D).
        like: a parameter whose dtype and ``requires_grad`` theirs shall have.
    """
    left, values, right = torch.linalg.svd(matrix)
    rank = max(1, int((values > values[0] * _NEGLIGIBLE).sum()))
    root = values[:rank].sqrt()
    with torch.device("meta"):
        down, up = nn.Linear(len(matrix), rank, bias=False), nn.Linear(rank, len(matrix), bias=False)
    down.weight = _parameter(root[:, None] * right[:rank], like)
    up.weight = _parameter(left[:, :rank] * root, like)
    return nn.Sequential(down, up)


def _parameter(value: Tensor, like: Tensor) -> nn.Parameter:
    return nn.Parameter(value.to(like.dtype).contiguous(), requires_grad=like.requires_grad)
