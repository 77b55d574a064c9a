"""The host `cnn` as a network that gromo can widen, and the growth of one of its layers."""

import warnings
from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from esper_core.api import EsperError, Task


class Method(StrEnum):
    """How new neurons are chosen.

    ``TINY``: from the part of the gradient that the layer itself cannot follow, whitened by its inputs' covariance
    (Verbockhaven et al. 2024, "Growing Tiny Networks", TMLR, proposition 3.4).
    ``GRADMAX``: no incoming weights, and the outgoing ones that have the largest gradient (Evci et al. 2022, "GradMax",
    ICLR, section 3).
    """

    TINY = "tiny"
    GRADMAX = "gradmax"


#: What gromo's `compute_optimal_updates` names as the settings of each paper.
_SETTINGS = {
    Method.TINY: {
        "use_covariance": True,
        "alpha_zero": False,
        "use_projection": True,
        "ignore_singular_values": False,
    },
    Method.GRADMAX: {
        "use_covariance": False,
        "alpha_zero": True,
        "use_projection": False,
        "ignore_singular_values": True,
    },
}

#: How large new weights are: as those of the layers that they extend, and as GradMax's paper has them.
_NORMALISATION = {Method.TINY: "match_extending_layer", Method.GRADMAX: "gradmax_normalization"}


@frozen(kw_only=True)
class Widened:
    """What a growth has come to.

    Attributes:
        added: new channels, over all layers.
        flops: of the statistics behind it, without the passes forward and backward, and without the decompositions,
            which torch's counter does not know.
    """

    added: int
    flops: int


class NeuronNetwork(nn.Module):
    """The host `cnn` without pools, made of gromo's layers, with the weights of that host: (B, C, H, W) -> (B, K).

    gromo 0.1 can choose new channels of a convolution where the next layer is a convolution of the same resolution:
    no pool between them, and not the last one, whose channels a mean leads to the head. Of its two ways of choosing
    them this is the one whose new channels begin with outgoing weights at the centre of the kernel only; the other one
    takes some forty times as many operations for its statistics as a step of training does.

    Args:
        host: the host `cnn`, with GroupNorm in one group and no pool.
        size: height and width of an image.

    Raises:
        EsperError: E402 if the host is another one.
    """

    def __init__(self, host: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        blocks = _blocks(host)
        self.layers = nn.ModuleList()
        for index, block in enumerate(blocks):
            self.layers.append(_layer(block, size, self.layers[-1] if self.layers else None, f"block{index}"))
        self.head: nn.Module = host.get_submodule("head")

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        x = images
        for layer in self.layers:
            x = layer(x)
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each block."""
        return tuple(int(layer.get_parameter("layer.weight").shape[0]) for layer in self.layers)

    @property
    def channel_parameters(self) -> int:
        """How many parameters one more channel in each block but the last adds."""
        shapes = [layer.get_parameter("layer.weight").shape for layer in self.layers]
        return sum(one[1:].numel() + then[0] * then[2:].numel() + 2 for one, then in pairwise(shapes))

    def grow(self, method: Method, channels: int, batches: Iterable[tuple[Tensor, Tensor]], task: Task) -> Widened:
        """Add up to so many channels in front of each layer but the first; fewer where gromo finds fewer that help.

        Args:
            method: how they are chosen.
            channels: the most that each layer gets.
            batches: (inputs, targets), which the statistics are taken over.
            task: gives the losses of samples.
        """
        growing: list[Any] = [*self.layers[1:]]
        for layer in growing:
            layer.init_computation()
        counted = 0
        for inputs, targets in batches:
            self.zero_grad()
            torch.autograd.backward([task.losses(self(inputs), targets).mean()])
            with FlopCounterMode(display=False) as counter:
                for layer in growing:
                    layer.update_computation()
            counted += int(counter.get_total_flops())
        self.zero_grad()
        return Widened(added=sum(_widened(layer, method, channels) for layer in growing), flops=counted)


def _widened(layer: Any, method: Method, channels: int) -> int:
    before = layer.in_channels
    with warnings.catch_warnings():
        # It says of every covariance matrix by how much it is not symmetric, which is its rounding.
        warnings.filterwarnings("ignore", message="Warning: The input matrix S is not symmetric")
        layer.compute_optimal_updates(maximum_added_neurons=channels, compute_delta=False, **_SETTINGS[method])
    layer.reset_computation()
    if layer.eigenvalues_extension is not None and len(layer.eigenvalues_extension):
        layer.normalize_optimal_updates(normalization_type=_NORMALISATION[method])
        layer.set_scaling_factor(1.0)
        layer.apply_change()
    layer.delete_update()
    return int(layer.in_channels - before)


def _layer(block: nn.Module, size: tuple[int, int], before: nn.Module | None, name: str) -> nn.Module:
    from gromo.modules import conv2d_growing_module as convolutions  # type: ignore[import-untyped]
    from gromo.modules.growing_normalisation import GrowingGroupNorm  # type: ignore[import-untyped]

    conv, norm = block.get_submodule("conv"), block.get_submodule("norm")
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.GroupNorm)
    growing = GrowingGroupNorm(norm.num_groups, norm.num_channels, eps=norm.eps)
    growing.load_state_dict(norm.state_dict())
    first, further = convolutions.Conv2dGrowingModule, convolutions.RestrictedConv2dGrowingModule
    layer: nn.Module = (first if before is None else further)(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        padding=conv.padding,
        use_bias=conv.bias is not None,
        input_size=size,
        post_layer_function=nn.Sequential(growing, nn.ReLU()),
        previous_module=before,
        allow_growing=before is not None,
        name=name,
    )
    layer.get_submodule("layer").load_state_dict(conv.state_dict())
    return layer


def _blocks(host: nn.Module) -> Sequence[nn.Module]:
    blocks = [*getattr(host, "blocks", ())]
    fit = len(blocks) > 1 and isinstance(getattr(host, "head", None), nn.Linear)
    for block in blocks:
        norm, pool = getattr(block, "norm", None), getattr(block, "pool", None)
        fit = fit and isinstance(norm, nn.GroupNorm) and norm.num_groups == 1 and isinstance(pool, nn.Identity)
    if not fit:
        raise EsperError(
            "E402",
            f"{type(host).__name__} cannot be widened by gromo as it stands",
            where="host",
            why="it takes two or more blocks of the host cnn without pools, normalised in one group",
            fix="--set host.name=cnn --set host.pool=0 --set host.groups=1",
        )
    return blocks
