"""Makes the table behind ``esper/GrowthTable-v0``: trains every topology, and writes a line for each run.

A topology says what each of the three slots of the host `cnn` with widths 4, 4, 4 holds: nothing, or one of six
blueprints; there are 343. A run is one topology with one random seed on the task `digits`, trained for 20 epochs as
`recipe` says, with all seeds in the network at alpha 1 from its first step on (they are zero at birth, so that
it begins as the bare host does). Runs of one random seed share the host's initial weights, the order of the data, and
the initial weights of each blueprint in each slot, so that differences between topologies are paired.

Networks are trained `STACK` at a time (see `stacked_networks`), and stacks are always the same ones. Results are
appended as stacks are done, and what is there is not done again.

    python growth_table.py make FILE.jsonl [--seeds 0-9]
    python growth_table.py pack FILE.jsonl TABLE.npz [--seeds 0-9]
    python growth_table.py hosts FILE.jsonl [--seeds 3-8] [--widths 4,4,4 6,6,6 ...] [--rates 0.02,0.1 0.1,0.1 ...]

`hosts` asks what would make a good table: with which widths, and learning rates of host and seeds, growing gains
surely, whatever the random seed.
"""

import argparse
import math
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recipe import BATCH_SIZE, EPOCHS, HOST_LR, MOMENTUM, SEED_LR, WARMUP_EPOCHS, WEIGHT_DECAY
from result_lines import append, read
from stacked_networks import (
    BLUEPRINTS,
    NAMES,
    WIDTHS,
    Networks,
    Topology,
    digits_splits,
    host_module,
    losses_of,
    patches_of,
    seed_module,
    site,
)
from torch import Tensor

from esper_adapter_gymnasium.table import GrowthTable
from esper_core.api import to_json
from esper_core.kasmina.cost import count_flops
from esper_core.kasmina.schedules import restarted_cosine, warmup_cosine
from esper_core.leyline.streams import derive_seed
from esper_core.tolaria.data import BatchStream
from esper_task_vision.tasks import digits

#: Peak learning rates of host and seeds.
RATES = (HOST_LR, SEED_LR)

#: How many networks are trained at once.
STACK = 48


# ------------------------------------------------------------------------------------------------------------ training


def train(
    topologies: Sequence[Topology],
    seed: int,
    epochs: int = EPOCHS,
    widths: Sequence[int] = WIDTHS,
    rates: tuple[float, float] = RATES,
) -> list[dict[str, Any]]:
    """Train networks and return the result of each: curves by epoch. Rates are those of host and seeds.

    ``train_loss``, ``train_accuracy``, ``loss``, ``accuracy`` (of validation), ``contribution`` and
    ``contribution_error`` (by slot: the validation loss without the seed minus the loss with it, and its standard
    error), and ``test_loss``, ``test_accuracy`` after the last epoch.
    """
    task, splits = digits(), digits().load()
    networks = Networks(topologies, seed, widths)
    groups = [{"params": [*networks.host.values()]}]
    groups.append({"params": [tensor for it in networks.seeds.values() for tensor in it.values()]})
    optimizer = torch.optim.SGD(groups, lr=rates[0], momentum=MOMENTUM, nesterov=True, weight_decay=WEIGHT_DECAY)
    stream = BatchStream(splits.train, task, BATCH_SIZE, derive_seed(seed, "data"))
    total, warmup, now = EPOCHS * stream.steps, WARMUP_EPOCHS * stream.steps, 0
    curves: list[dict[str, Tensor]] = []
    for epoch in range(epochs):
        seen = torch.zeros(2, len(topologies))
        for images, targets in stream.epoch(epoch):
            optimizer.param_groups[0]["lr"] = rates[0] * warmup_cosine(now, total, warmup)
            optimizer.param_groups[1]["lr"] = rates[1] * restarted_cosine(now, 0, total)
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
    """Train everything that the file does not hold yet, one random seed after the other."""
    done = {(line["seed"], tuple(line["topology"])) for line in read(out)}
    for seed, stack in product(seeds, stacks()):
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


#: Topologies that a host is judged by: bare, and those that are worth most on tables that were made.
_LIKELY: Sequence[Topology] = (
    *((0, 0, 0), (0, 0, 6), (6, 6, 6), (0, 0, 5), (5, 5, 6), (0, 0, 1), (1, 1, 1)),
    *((0, 0, 4), (0, 4, 0), (0, 4, 4), (4, 4, 6), (0, 3, 3)),
)


def compare_hosts(
    out: Path,
    hosts: Sequence[tuple[int, ...]],
    rates: Sequence[tuple[float, ...]],
    seeds: Sequence[int],
    rent: float = 0.1,
) -> None:
    """Say for each host and pair of rates what growing gains over not growing, in accuracy less rent, and how surely.

    Each is trained with a few topologies; the one with the best mean counts. What is in the file is not done again.
    """
    done = {(tuple(line["widths"]), tuple(line["rates"]), line["seed"]): line["worth"] for line in read(out)}
    for widths, (host, own) in product(hosts, rates):
        at = (widths, (host, own))
        for seed in seeds:
            if (*at, seed) not in done:
                bare = sum(it.numel() for it in host_module(seed, widths).parameters())
                grown = [_size(topology, widths) for topology in _LIKELY]
                results = train(_LIKELY, seed, widths=widths, rates=(host, own))
                sizes = [rent * math.log2(1 + size / bare) for size in grown]
                worth = [it["accuracy"][-1] - size for it, size in zip(results, sizes, strict=True)]
                append(out, [{"widths": list(widths), "rates": [host, own], "seed": seed, "worth": worth}])
                done[*at, seed] = worth
        values = np.array([done[*at, seed] for seed in seeds])
        best = 1 + int(values[:, 1:].mean(0).argmax())
        gains = values[:, best] - values[:, 0]
        error = float(gains.std(ddof=1)) / len(seeds) ** 0.5
        print(
            f"widths {widths}, rates {host} and {own}: bare {values[:, 0].mean():.3f}, best {_LIKELY[best]},"
            f" gain {gains.mean():+.3f} with a standard error of {error:.3f}: {gains.mean() / error:.1f} of them",
            flush=True,
        )


def _size(topology: Topology, widths: Sequence[int]) -> int:
    seeds = [seed_module(0, slot, it, widths) for slot, it in enumerate(topology) if it]
    return sum(it.numel() for module in seeds for it in module.parameters())


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
            command.add_argument("--widths", nargs="*", default=["4,4,4", "6,6,6", "8,8,8"])
            command.add_argument("--rates", nargs="*", default=["0.02,0.1", "0.1,0.1"])
        command.add_argument("--seeds", default="0-9")
    given = parser.parse_args()
    first, _, last = given.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    if given.command == "make":
        make(given.runs, seeds)
    elif given.command == "hosts":
        widths = [tuple(map(int, it.split(","))) for it in given.widths]
        compare_hosts(given.runs, widths, [tuple(map(float, it.split(","))) for it in given.rates], seeds)
    else:
        pack(given.runs, given.table, seeds)


if __name__ == "__main__":
    main()
