"""Networks that are trained side by side: their weights are stacked, and a convolution is a matrix product.

A convolution over a map of a few pixels takes longer to begin than to compute. A test compares the networks with the
modules of the plugins. A network depends on what it is stacked with only in the last bits.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esper_blueprint_bottleneck.config import BottleneckConfig
from esper_blueprint_bottleneck.module import Bottleneck
from esper_blueprint_conv_heavy.config import ConvHeavyConfig
from esper_blueprint_conv_heavy.module import ConvHeavy
from esper_blueprint_conv_light.config import ConvLightConfig
from esper_blueprint_conv_light.module import ConvLight
from esper_blueprint_depthwise.config import DepthwiseConfig
from esper_blueprint_depthwise.module import Depthwise
from esper_blueprint_group_norm.config import GroupNormConfig
from esper_blueprint_group_norm.module import GroupNormUpdate
from esper_blueprint_squeeze_excite.config import SqueezeExciteConfig
from esper_blueprint_squeeze_excite.module import SqueezeExcite
from esper_core.leyline.layouts import Layout
from esper_core.leyline.sites import Site
from esper_core.leyline.streams import derive_seed
from esper_core.nn import group_count
from esper_host_cnn.cnn import build
from esper_host_cnn.config import CnnConfig
from esper_task_vision.tasks import digits

WIDTHS = (4, 4, 4)

#: How each blueprint is built, in catalogue order.
BLUEPRINTS: Mapping[str, tuple[Any, Any]] = {
    "bottleneck": (Bottleneck, BottleneckConfig),
    "conv-heavy": (ConvHeavy, ConvHeavyConfig),
    "conv-light": (ConvLight, ConvLightConfig),
    "depthwise": (Depthwise, DepthwiseConfig),
    "group-norm": (GroupNormUpdate, GroupNormConfig),
    "squeeze-excite": (SqueezeExcite, SqueezeExciteConfig),
}
NAMES = tuple(BLUEPRINTS)

#: Height and width of the maps that the seeds of each slot see.
SIDES = (4, 2, 2)

#: What each slot holds: 0 is nothing, n the n-th blueprint.
Topology = tuple[int, ...]

#: Stacked parameters of networks or seeds, the first axis over them.
Stacked = dict[str, Tensor]


# --------------------------------------------------------------------------------------------- modules and parameters


def site(slot: int, widths: Sequence[int] = WIDTHS) -> Site:
    """Return the place of a slot."""
    return Site(
        id=f"block{slot}",
        path=f"blocks.{slot}",
        layout=Layout.NCHW,
        width=widths[slot],
        depth=(slot + 1) / len(widths),
        sample_shape=(widths[slot], SIDES[slot], SIDES[slot]),
    )


def host_module(seed: int, widths: Sequence[int] = WIDTHS) -> nn.Module:
    """Return the bare host as a run with this seed begins with it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights"))
        return build(CnnConfig(widths=tuple(widths), channels_last=False), digits().shape).module


def seed_module(seed: int, slot: int, blueprint: int, widths: Sequence[int] = WIDTHS) -> nn.Module:
    """Return the seed of a blueprint (1 to 6) as a run with this seed begins with it."""
    module, config = BLUEPRINTS[NAMES[blueprint - 1]]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "table", slot, NAMES[blueprint - 1]))
        return module(site(slot, widths), config())


def stacked(modules: Sequence[nn.Module]) -> Stacked:
    """Return the parameters of modules of one class, stacked."""
    named = [dict(module.named_parameters()) for module in modules]
    return {name: torch.stack([it[name].detach() for it in named]).requires_grad_() for name in named[0]}


# ------------------------------------------------------------------------------- the plugins' modules, on (K, B, C, P)


@cache
def _shifts(side: int) -> Tensor:
    """(P * P, 9): where output pixel q of a 3x3 convolution sees input pixel p, for (p, q) and each of nine taps."""
    found = torch.zeros(side, side, side, side, 3, 3)
    for y, x, dy, dx in product(range(side), range(side), range(3), range(3)):
        row, column = y + dy - 1, x + dx - 1
        if 0 <= row < side and 0 <= column < side:
            found[row, column, y, x, dy, dx] = 1.0
    return found.view(side**4, 9)


def conv(h: Tensor, weight: Tensor, side: int) -> Tensor:
    """Return 3x3 or 1x1 convolutions, (K, B, O, P), of maps (K, B, I, P) with weights (K, O, I, k, k)."""
    count, outputs, inputs, kernel, _ = weight.shape
    batch, pixels = h.shape[1], h.shape[-1]
    if kernel == 1:
        return weight[:, None, :, :, 0, 0] @ h
    taps = weight.permute(0, 3, 4, 2, 1).reshape(count, 9, inputs * outputs)
    dense = (_shifts(side) @ taps).view(count, pixels, pixels, inputs, outputs)  # (K, p, q, I, O)
    dense = dense.permute(0, 3, 1, 4, 2).reshape(count, inputs * pixels, outputs * pixels)
    return torch.bmm(h.reshape(count, batch, inputs * pixels), dense).view(count, batch, outputs, pixels)


def norm(h: Tensor, groups: int, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """Return the group normalisation of maps (K, B, C, P), with weights (K, C) if there are any."""
    normal = F.group_norm(h.flatten(0, 1), groups).view(h.shape)
    return normal if weight is None or bias is None else normal * weight[:, None, :, None] + bias[:, None, :, None]


def conv_norm(p: Stacked, name: str, h: Tensor, side: int, *, depthwise: bool = False) -> Tensor:
    """As `esper_core.nn.conv_norm`, with the parameters below `name`."""
    weight = p[f"{name}.0.weight"]
    if depthwise:  # (K, C, 1, 3, 3): each channel sees itself
        weight = weight * torch.eye(weight.shape[1])[:, :, None, None]
    y = conv(h, weight, side)
    if f"{name}.0.bias" in p:
        y = y + p[f"{name}.0.bias"][:, None, :, None]
    return norm(y, group_count(weight.shape[1]), p.get(f"{name}.1.weight"), p.get(f"{name}.1.bias"))


def bounded(p: Stacked, y: Tensor, h: Tensor) -> Tensor:
    """As `BoundedGain`."""
    gain = p["gain.gain"]
    rms = torch.linalg.vector_norm(h, dim=(2, 3), keepdim=True) / (h.shape[2] * h.shape[3]) ** 0.5
    return y * (gain * (1 + gain.square()).rsqrt())[:, None, :, None] * rms


def update(blueprint: int, p: Stacked, h: Tensor, side: int) -> Tensor:
    """Return the updates, (K, B, C, P), of stacked seeds of one blueprint."""
    name = NAMES[blueprint - 1]
    if name == "squeeze-excite":
        hidden = F.silu(h.mean(-1) @ p["logits.0.weight"].mT + p["logits.0.bias"][:, None])
        z = hidden @ p["logits.2.weight"].mT + p["logits.2.bias"][:, None]
        return h * (z / 2).tanh()[..., None]
    if name == "group-norm":
        return bounded(p, norm(h, group_count(h.shape[2])), h)
    if name == "conv-light":
        return bounded(p, F.relu(conv_norm(p, "body.0", h, side)), h)
    if name == "bottleneck":
        y = F.relu(conv_norm(p, "body.0", h, side))
        y = F.relu(conv_norm(p, "body.2", y, side))
        return bounded(p, conv_norm(p, "body.4", y, side), h)
    y = F.relu(conv_norm(p, "body.0", h, side, depthwise=name == "depthwise"))
    return bounded(p, conv_norm(p, "body.2", y, side), h)


class Networks:
    """Networks of one random seed, side by side.

    Args:
        topologies: one for each network.
        seed: the random seed.
        widths: of the host.
    """

    def __init__(self, topologies: Sequence[Topology], seed: int, widths: Sequence[int] = WIDTHS) -> None:
        self.topologies = tuple(topologies)
        bare = host_module(seed, widths)
        self.host = stacked([bare] * len(topologies))
        self.members: dict[tuple[int, int], Tensor] = {}
        self.seeds: dict[tuple[int, int], Stacked] = {}
        for slot, blueprint in product(range(len(WIDTHS)), range(1, len(NAMES) + 1)):
            which = [index for index, topology in enumerate(topologies) if topology[slot] == blueprint]
            if which:
                self.members[slot, blueprint] = torch.tensor(which)
                self.seeds[slot, blueprint] = stacked([seed_module(seed, slot, blueprint, widths)] * len(which))

    def first(self, patches: Tensor) -> Tensor:
        """Return the output of the first block, (K, B, C, 16), for the patches of images, (B, 9, 64)."""
        weight = self.host["blocks.0.conv.weight"]  # (K, C, 1, 3, 3)
        count, channels = weight.shape[:2]
        y = weight.view(count * channels, 9) @ patches  # (B, K * C, 64)
        scale, bias = (self.host[f"blocks.0.norm.{it}"].flatten() for it in ("weight", "bias"))
        y = F.group_norm(y, 2 * count, scale, bias)
        # Pool, then ReLU: the same in the other order, at a quarter of the cost.
        y = F.relu(F.max_pool2d(y.view(-1, count * channels, 8, 8), 2))
        return y.view(-1, count, channels, 16).transpose(0, 1).contiguous()

    def block(self, index: int, h: Tensor) -> Tensor:
        """Return the output of the second or third block, (K, B, C, 4)."""
        p, side = self.host, SIDES[index - 1]
        y = conv(h, p[f"blocks.{index}.conv.weight"], side)
        y = norm(y, 2, p[f"blocks.{index}.norm.weight"], p[f"blocks.{index}.norm.bias"])
        if index == 1:
            y = F.max_pool2d(y.view(*y.shape[:3], side, side).flatten(0, 1), 2).view(*y.shape[:3], 4)
        return F.relu(y)

    def grown(self, slot: int, h: Tensor) -> Tensor:
        """Return the activation with the updates of the slot's seeds added."""
        added = torch.zeros_like(h)
        for (place, blueprint), parameters in self.seeds.items():
            if place == slot:
                members = self.members[place, blueprint]
                added = added.index_add(0, members, update(blueprint, parameters, h[members], SIDES[slot]))
        return h + added

    def head(self, h: Tensor) -> Tensor:
        """Return the logits, (K, B, 10)."""
        return h.mean(-1) @ self.host["head.weight"].mT + self.host["head.bias"][:, None]

    def logits(self, patches: Tensor) -> Tensor:
        """Return the logits, (K, B, 10), of all networks for the same images."""
        h = self.grown(0, self.first(patches))
        return self.head(self.grown(2, self.block(2, self.grown(1, self.block(1, h)))))

    def with_ablations(self, patches: Tensor) -> list[Tensor]:
        """Return the logits as the networks stand, then without the seed of each slot."""
        bare = [self.first(patches)]
        grown = [self.grown(0, bare[0])]
        for slot in (1, 2):
            bare.append(self.block(slot, grown[-1]))
            grown.append(self.grown(slot, bare[-1]))
        without_0 = self.grown(2, self.block(2, self.grown(1, self.block(1, bare[0]))))
        without_1 = self.grown(2, self.block(2, bare[1]))
        return [self.head(it) for it in (grown[2], without_0, without_1, bare[2])]


# ------------------------------------------------------------------------------------------------------------ training


def patches_of(images: Tensor) -> Tensor:
    """Return the 3x3 patches, (B, 9, 64), of images (B, 1, 8, 8)."""
    return F.unfold(images, 3, padding=1)


def losses_of(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross entropy of each network and image, (K, B), in nats."""
    every = targets.expand(logits.shape[:2])
    return F.cross_entropy(logits.flatten(0, 1), every.flatten(), reduction="none").view(every.shape)


@cache
def digits_splits() -> Any:
    """Return the data, read once."""
    return digits().load()
