"""What one adapter adds to one layer, and what a layer holds of all adapters."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: The name of the submodule in which a layer holds its updates.
HELD = "lora_adapters"

Layer = nn.Linear | nn.Conv2d


class LowRank(nn.Module):
    """``scale * up(down(x))`` for a layer's input x; zero at birth (Hu et al. 2022, arXiv 2106.09685).

    Args:
        layer: an `nn.Linear`, or an `nn.Conv2d` without groups and with zeros as padding.
        rank: 0 or more.
        scale: PEFT's ``lora_alpha / r``.
        dropout: of the input, in training.

    Attributes:
        down: (rank, inputs), or (rank, inputs, height, width) of a convolution's kernel.
        up: (outputs, rank).
    """

    def __init__(self, layer: Layer, rank: int, scale: float, dropout: float) -> None:
        super().__init__()
        weight = layer.weight
        dtype = weight.dtype if weight.is_floating_point() else torch.get_default_dtype()
        inputs = (layer.in_features,) if isinstance(layer, nn.Linear) else (layer.in_channels, *layer.kernel_size)
        outputs = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
        self.down = nn.Parameter(torch.empty(rank, *inputs, dtype=dtype, device=weight.device))
        self.up = nn.Parameter(torch.zeros(outputs, rank, dtype=dtype, device=weight.device))
        draw_down(self.down)
        self.scale, self.dropout = scale, dropout

    @property
    def rank(self) -> int:
        """Of the update; 0: it adds nothing."""
        return len(self.down)

    def update(self, layer: Layer, x: Tensor) -> Tensor:
        """Return what is added to the layer's output for its input `x`, in the dtype of the parameters."""
        given = F.dropout(x.to(self.down.dtype), self.dropout, self.training)
        if isinstance(layer, nn.Linear):
            return F.linear(F.linear(given, self.down), self.up) * self.scale
        inner = F.conv2d(given, self.down, None, layer.stride, layer.padding, layer.dilation)
        return F.conv2d(inner, self.up[..., None, None]) * self.scale

    def matrix(self) -> Tensor:
        """Return what is added to the layer's weight, in its shape."""
        return (self.scale * (self.up @ self.down.flatten(1))).unflatten(1, self.down.shape[1:])


class Held(nn.Module):
    """All updates of a layer.

    Attributes:
        updates: by the adapter's name.
        active: names of those that are added to the output.
        before: the weight as it was in front of merging; empty where nothing is merged.
    """

    before: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.updates = nn.ModuleDict()
        self.active: tuple[str, ...] = ()
        self.register_buffer("before", torch.empty(0), persistent=False)


def draw_down(down: Tensor) -> None:
    """Draw the first factor as `nn.Linear` and PEFT do."""
    if down.numel():
        nn.init.kaiming_uniform_(down, a=math.sqrt(5))


def add_updates(layer: Layer, args: Sequence[Any], kwargs: dict[str, Any], output: Tensor) -> Tensor:
    """Return a layer's output with the active updates; the forward hook of every layer that holds some."""
    held: Any = getattr(layer, HELD)
    x = args[0] if args else kwargs["input"]
    for name in held.active:
        update = held.updates[name]
        if update.rank:
            output = output + update.update(layer, x).to(output.dtype)
    return output
