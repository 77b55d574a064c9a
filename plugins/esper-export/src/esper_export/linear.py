"""Seeds whose update is linear: merged into a linear layer, or written as two."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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


def weight_update(seed: nn.Module, layer: nn.Linear | nn.Conv2d, probe: tuple[Tensor, ...]) -> Tensor | None:
    """Return what a seed that takes the layer's input adds to its weight, in float64; None of one that does not say.

    Args:
        seed: a seed module.
        layer: that of its site.
        probe: an activation and an input, to hold what the seed says against what it does.
    """
    if not (isinstance(seed, LinearUpdate) and callable(getattr(type(seed), "matrix", None))):
        return None
    _, x = probe
    with torch.no_grad():
        update = seed.matrix().double()
        if update.shape != layer.weight.shape:
            return None
        if isinstance(layer, nn.Linear):
            made = F.linear(x.double(), update)
        else:
            made = layer._conv_forward(x.double(), update, None)
        return update if agree(seed(*probe), made) else None


def add_to_weight(layer: nn.Linear | nn.Conv2d, update: Tensor) -> None:
    """Let a layer with weight W have the weight W + update."""
    with torch.no_grad():
        layer.weight = _parameter(layer.weight.double() + update, layer.weight)


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
