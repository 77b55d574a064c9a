"""Makes the table behind ``esper/GrowthTable-v0``: trains every topology, and writes a line for each run.

A topology says what each of the three slots of the host `cnn` with widths 4, 4, 4 holds: nothing, or one of six
blueprints; there are 343. A run is one topology with one random seed on the task `digits`, trained for 20 epochs by
the recipe of the task, with all seeds in the network at alpha 1 from its first step on (they are zero at birth, so that
it begins as the bare host does). Runs of one random seed share the host's initial weights, the order of the data, and
the initial weights of each blueprint in each slot, so that differences between topologies are paired.

Networks are trained `STACK` at a time: their weights are stacked, and a convolution over a map of a few pixels is a
matrix product; a test compares this with the modules of the plugins. A run depends on its stack only in the last
bits, and stacks are always the same ones; results are appended as stacks are done, and what is there is not done
again.

    python growth_table.py make FILE.jsonl [--seeds 0-9]
    python growth_table.py pack FILE.jsonl TABLE.npz [--seeds 0-9]
    python growth_table.py hosts FILE.jsonl [--seeds 3-8] [--widths 4,4,4 4,4,8 ...]

`hosts` asks which host would make a good table: on which growing gains surely, whatever the random seed.
"""

import argparse
import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esper_adapter_gymnasium.table import GrowthTable
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
from esper_core.api import to_json
from esper_core.kasmina.cost import count_flops
from esper_core.kasmina.schedules import restarted_cosine, warmup_cosine
from esper_core.leyline.layouts import Layout
from esper_core.leyline.sites import Site
from esper_core.leyline.streams import derive_seed
from esper_core.nn import group_count
from esper_core.tolaria.data import BatchStream
from esper_host_cnn.cnn import build
from esper_host_cnn.config import CnnConfig
from esper_task_vision.tasks import digits

WIDTHS = (4, 4, 4)
EPOCHS, BATCH_SIZE = 20, 64
LR, MOMENTUM, WEIGHT_DECAY, WARMUP_EPOCHS = 0.1, 0.9, 5e-4, 1

#: How many networks are trained at once.
STACK = 48

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


def train(
    topologies: Sequence[Topology], seed: int, epochs: int = EPOCHS, widths: Sequence[int] = WIDTHS
) -> list[dict[str, Any]]:
    """Train networks and return the result of each: curves by epoch.

    ``train_loss``, ``train_accuracy``, ``loss``, ``accuracy`` (of validation), ``contribution`` and
    ``contribution_error`` (by slot: the validation loss without the seed minus the loss with it, and its standard
    error), and ``test_loss``, ``test_accuracy`` after the last epoch.
    """
    task, splits = digits(), digits().load()
    networks = Networks(topologies, seed, widths)
    groups = [{"params": [*networks.host.values()]}]
    groups.append({"params": [tensor for it in networks.seeds.values() for tensor in it.values()]})
    optimizer = torch.optim.SGD(groups, lr=LR, momentum=MOMENTUM, nesterov=True, weight_decay=WEIGHT_DECAY)
    stream = BatchStream(splits.train, task, BATCH_SIZE, derive_seed(seed, "data"))
    total, warmup, now = EPOCHS * stream.steps, WARMUP_EPOCHS * stream.steps, 0
    curves: list[dict[str, Tensor]] = []
    for epoch in range(epochs):
        seen = torch.zeros(2, len(topologies))
        for images, targets in stream.epoch(epoch):
            optimizer.param_groups[0]["lr"] = LR * warmup_cosine(now, total, warmup)
            optimizer.param_groups[1]["lr"] = LR * restarted_cosine(now, 0, total)
            logits = networks.logits(patches_of(images))
            losses = losses_of(logits, targets)
            optimizer.zero_grad(set_to_none=True)
            losses.mean(1).sum().backward()
            optimizer.step()
            with torch.no_grad():
                seen += torch.stack([losses.sum(1), (logits.argmax(-1) == targets).float().sum(1)])
            now += 1
        samples = len(splits.train.targets)
        curves.append({"train_loss": seen[0] / samples, "train_accuracy": seen[1] / samples, **validate(networks)})
    tested = _measured(networks.logits(patches_of(splits.test.inputs)), splits.test.targets)
    return [
        {name: torch.stack([it[name][index] for it in curves]).tolist() for name in curves[0]}
        | {"test_loss": float(tested[0].mean(1)[index]), "test_accuracy": float(tested[1][index])}
        for index in range(len(topologies))
    ]


@torch.no_grad()
def validate(networks: Networks) -> dict[str, Tensor]:
    """Measure networks on the validation split, as they stand and without each seed."""
    split = digits_splits().validation
    passes = networks.with_ablations(patches_of(split.inputs))
    losses, accuracy = _measured(passes[0], split.targets)
    differences = torch.stack([losses_of(it, split.targets) - losses for it in passes[1:]], 1).double()  # (K, 3, B)
    return {
        "loss": losses.mean(1),
        "accuracy": accuracy,
        "contribution": differences.mean(-1),
        "contribution_error": differences.std(-1) / differences.shape[-1] ** 0.5,
    }


@cache
def digits_splits() -> Any:
    """Return the data, read once."""
    return digits().load()


@torch.no_grad()
def _measured(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Losses, (K, B), and accuracies, (K,)."""
    return losses_of(logits, targets), (logits.argmax(-1) == targets).float().mean(1)


# --------------------------------------------------------------------------------------------------------------- files


def stacks() -> list[tuple[Topology, ...]]:
    """Return all topologies, those with fewest seeds first, in the stacks in which they are trained."""
    every = sorted(product(range(len(NAMES) + 1), repeat=len(WIDTHS)), key=lambda it: (sum(map(bool, it)), it))
    few = [it for it in every if sum(map(bool, it)) < len(WIDTHS)]
    full = every[len(few) :]
    return [tuple(part[at : at + STACK]) for part in (few, full) for at in range(0, len(part), STACK)]


def make(out: Path, seeds: Sequence[int]) -> None:
    """Train everything that the file does not hold yet; topologies with fewest seeds come first, for all seeds."""
    done = {(line["seed"], tuple(line["topology"])) for line in read(out)}
    order = sorted(stacks(), key=lambda stack: all(map(all, stack)))
    few = [stack for stack in order if not all(map(all, stack))]
    for part in (few, order[len(few) :]):
        for seed, stack in product(seeds, part):
            if all((seed, topology) in done for topology in stack):
                continue
            began = time.perf_counter()
            results = train(stack, seed)
            lines = [
                {"seed": seed, "topology": list(topology), **_rounded(result)}
                for topology, result in zip(stack, results, strict=True)
            ]
            append(out, lines)
            print(f"seed {seed}, {len(stack)} topologies: {time.perf_counter() - began:.1f} s", flush=True)


def pack(runs: Path, table: Path, seeds: Sequence[int]) -> None:
    """Write the table of what was trained; a topology that is missing is NaN."""
    topologies = sorted(product(range(len(NAMES) + 1), repeat=len(WIDTHS)), key=lambda it: it[::-1])
    place = {topology: index for index, topology in enumerate(topologies)}
    shape = (len(seeds), len(topologies), EPOCHS)
    curves = {name: np.full(shape, np.nan) for name in ("loss", "accuracy", "train_loss", "train_accuracy")}
    curves |= {name: np.full((*shape, len(WIDTHS)), np.nan) for name in ("contribution", "contribution_error")}
    found = 0
    for line in read(runs):
        if line["seed"] in seeds:
            at, found = (list(seeds).index(line["seed"]), place[tuple(line["topology"])]), found + 1
            for name, values in curves.items():
                values[at] = line[name]
    bare = host_module(0)
    host_flops = count_flops(bare, digits_splits().train.inputs[:1])
    parameters, flops = np.zeros((2, len(WIDTHS), len(NAMES) + 1), dtype=np.int64)
    for slot, blueprint in product(range(len(WIDTHS)), range(1, len(NAMES) + 1)):
        module = seed_module(0, slot, blueprint)
        parameters[slot, blueprint] = sum(it.numel() for it in module.parameters())
        flops[slot, blueprint] = count_flops(module, torch.zeros(site(slot).shape(1)))
    GrowthTable(
        slots=tuple(site(slot).id for slot in range(len(WIDTHS))),
        blueprints=NAMES,
        options=tuple(to_json(config()) for _, config in BLUEPRINTS.values()),
        seeds=tuple(seeds),
        parameters=parameters,
        flops=flops,
        host_parameters=sum(it.numel() for it in bare.parameters()),
        host_flops=host_flops,
        widths=WIDTHS,
        samples=len(digits_splits().validation.targets),
        random_guess_loss=digits().random_guess_loss,
        **curves,
    ).write(table)
    print(f"{found} of {len(seeds) * len(topologies)} runs; {table.stat().st_size / 1e6:.2f} MB")


#: Topologies that a host is judged by: bare, and those that are worth most on the table's.
_LIKELY: Sequence[Topology] = ((0, 0, 0), (0, 0, 4), (0, 4, 0), (0, 1, 0), (0, 4, 4), (4, 4, 0), (0, 3, 3), (2, 0, 2))


def compare_hosts(out: Path, hosts: Sequence[tuple[int, ...]], seeds: Sequence[int], rent: float = 0.1) -> None:
    """Say for each host what growing gains over not growing, in accuracy less rent, and how surely.

    Each is trained with a few topologies; the one with the best mean counts. What is in the file is not done again.
    """
    done = {(tuple(line["widths"]), line["seed"]): line["worth"] for line in read(out)}
    for widths in hosts:
        for seed in seeds:
            if (widths, seed) not in done:
                bare = sum(it.numel() for it in host_module(seed, widths).parameters())
                grown = [_size(topology, widths) for topology in _LIKELY]
                results = train(_LIKELY, seed, widths=widths)
                sizes = [rent * math.log2(1 + size / bare) for size in grown]
                worth = [it["accuracy"][-1] - size for it, size in zip(results, sizes, strict=True)]
                append(out, [{"widths": list(widths), "seed": seed, "worth": worth}])
                done[widths, seed] = worth
        values = np.array([done[widths, seed] for seed in seeds])
        best = 1 + int(values[:, 1:].mean(0).argmax())
        gains = values[:, best] - values[:, 0]
        error = float(gains.std(ddof=1)) / len(seeds) ** 0.5
        print(
            f"widths {widths}: bare {values[:, 0].mean():.3f}, best {_LIKELY[best]}, gain {gains.mean():+.3f}"
            f" with a standard error of {error:.3f}: {gains.mean() / error:.1f} of them",
            flush=True,
        )


def _size(topology: Topology, widths: Sequence[int]) -> int:
    seeds = [seed_module(0, slot, it, widths) for slot, it in enumerate(topology) if it]
    return sum(it.numel() for module in seeds for it in module.parameters())


def append(out: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write lines behind the others, on lines of their own also behind one that was cut."""
    cut = out.exists() and out.stat().st_size > 0 and not out.read_bytes().endswith(b"\n")
    with out.open("a") as file:
        file.write("\n" * cut + "".join(json.dumps(line) + "\n" for line in lines))


def read(out: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a file; one that was cut is left out."""
    for line in out.read_text().splitlines() if out.exists() else ():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def _rounded(value: Any) -> Any:
    """To six significant digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, list):
        return [_rounded(it) for it in value]
    return {name: _rounded(it) for name, it in value.items()} if isinstance(value, dict) else value


def main() -> None:
    """Do what the command line says."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("make", "pack", "hosts"):
        command = commands.add_parser(name)
        command.add_argument("runs", type=Path)
        if name == "pack":
            command.add_argument("table", type=Path)
        if name == "hosts":
            command.add_argument("--widths", nargs="*", default=["4,4,4", "2,2,2", "2,4,4", "4,4,8", "4,8,8", "8,8,8"])
        command.add_argument("--seeds", default="0-9")
    given = parser.parse_args()
    first, _, last = given.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    if given.command == "make":
        make(given.runs, seeds)
    elif given.command == "hosts":
        compare_hosts(given.runs, [tuple(map(int, it.split(","))) for it in given.widths], seeds)
    else:
        pack(given.runs, given.table, seeds)


if __name__ == "__main__":
    main()
