"""How much a seed is worth that was germinated late: the surrogate's ramp, measured.

    python late_seeds.py run FILE.jsonl [--seeds 20-21] [--epochs 0 3 6 9 11 13 15 17]
    python late_seeds.py report FILE.jsonl

`run` trains stacks of networks (see `stacked_networks`) with one, two and three seeds, all of which germinate at once,
before a given epoch, and live as in a run: an epoch of straight-through training, then three in which alpha rises. It
trains the same with all seeds there from the beginning at alpha 1, as in the table. `report` prints what share of that
gain in loss there is at each age, by least squares.
"""

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from attrs import frozen
from recipe import BATCH_SIZE, EPOCHS, HOST_LR, MOMENTUM, SEED_LR, WARMUP_EPOCHS, WEIGHT_DECAY
from result_lines import append, read
from stacked_networks import NAMES, Networks, Topology, digits_splits, losses_of, patches_of
from torch import Tensor

from esper_adapter_gymnasium.lifecycle import RAMP_EPOCHS
from esper_adapter_gymnasium.model import RAMP
from esper_core.kasmina.schedules import restarted_cosine, warmup_cosine
from esper_core.leyline.streams import derive_seed
from esper_core.tolaria.data import BatchStream
from esper_task_vision.tasks import digits

#: What is germinated at once: nothing, every blueprint in every slot, and some pairs and triples.
TOPOLOGIES: Sequence[Topology] = (
    (0, 0, 0),
    *((it, 0, 0) for it in range(1, len(NAMES) + 1)),
    *((0, it, 0) for it in range(1, len(NAMES) + 1)),
    *((0, 0, it) for it in range(1, len(NAMES) + 1)),
    *((5, 0, 6), (0, 6, 6), (4, 0, 6), (0, 1, 6), (5, 5, 6), (6, 6, 6), (4, 4, 6), (1, 1, 1), (3, 4, 1), (2, 2, 2)),
)

#: A random seed, the epoch of germination, and a topology.
Run = tuple[int, int, Topology]

#: Stands for seeds that are there from the beginning, at alpha 1.
ALWAYS = -1


@frozen
class Share:
    """How much of a gain there is.

    Attributes:
        share: of what the table has, 1 being all of it.
        errors: root mean square differences of gains, with this share, with all of it and with nothing.
        count: of runs.
    """

    share: float
    errors: tuple[float, float, float]
    count: int

    @classmethod
    def of(cls, pairs: "np.ndarray[Any, Any]") -> "Share":
        """Return the share by least squares of pairs, (n, 2): what the table has, and what there is."""
        full, real = pairs.T
        share = float(full @ real / (full @ full))
        first, second, third = (float(np.sqrt(np.mean((real - it * full) ** 2))) for it in (share, 1.0, 0.0))
        return cls(share, (first, second, third), len(pairs))


class LateNetworks(Networks):
    """Networks whose seeds are at one alpha; None: they train straight-through, and add nothing."""

    alpha: float | None = 0.0

    def grown(self, slot: int, h: Tensor) -> Tensor:
        """Return the activation with the updates of the slot's seeds added, as far as alpha says."""
        if self.alpha == 0.0:
            return h
        if self.alpha is None:
            added = super().grown(slot, h.detach()) - h.detach()
            return h + (added - added.detach())
        return h + self.alpha * (super().grown(slot, h) - h)


def alpha_at(now: float, germinated: int) -> float | None:
    """Return alpha at a time in epochs: 0 before germination, None in straight-through training, then the ramp."""
    if germinated == ALWAYS:
        return 1.0
    trained = max(germinated, 1)  # G1 needs a host that has trained for an epoch
    if now < trained:
        return 0.0
    return None if now < trained + 1 else min(1.0, (now - trained - 1) / RAMP_EPOCHS)


def train(topologies: Sequence[Topology], seed: int, germinated: int) -> list[dict[str, Any]]:
    """Train networks whose seeds germinate before an epoch; return validation loss and accuracy by epoch."""
    task, splits = digits(), digits_splits()
    networks = LateNetworks(topologies, seed)
    stream = BatchStream(splits.train, task, BATCH_SIZE, derive_seed(seed, "data"))
    optimizer = torch.optim.SGD(
        [*networks.host.values()], lr=HOST_LR, momentum=MOMENTUM, nesterov=True, weight_decay=WEIGHT_DECAY
    )
    steps, first = stream.steps, max(germinated, 0)
    curves = []
    for epoch in range(EPOCHS):
        if epoch == max(first, 0 if germinated == ALWAYS else 1):
            optimizer.add_param_group({"params": [it for seeds in networks.seeds.values() for it in seeds.values()]})
        for step, (images, targets) in enumerate(stream.epoch(epoch)):
            now = epoch * steps + step
            rates = (HOST_LR * warmup_cosine(now, EPOCHS * steps, WARMUP_EPOCHS * steps), 0.0)
            if len(optimizer.param_groups) > 1:
                rates = (rates[0], SEED_LR * restarted_cosine(now, first * steps, EPOCHS * steps))
            for group, rate in zip(optimizer.param_groups, rates, strict=False):
                group["lr"] = rate
            networks.alpha = alpha_at(now / steps, germinated)
            losses = losses_of(networks.logits(patches_of(images)), targets)
            optimizer.zero_grad(set_to_none=True)
            losses.mean(1).sum().backward()
            optimizer.step()
        networks.alpha = alpha_at(epoch + 1, germinated)
        curves.append(_validated(networks))
    return [
        {name: [float(it[name][index]) for it in curves] for name in ("loss", "accuracy")}
        for index in range(len(topologies))
    ]


@torch.no_grad()
def _validated(networks: Networks) -> dict[str, Tensor]:
    split = digits_splits().validation
    logits = networks.logits(patches_of(split.inputs))
    right = (logits.argmax(-1) == split.targets).float().mean(1)
    return {"loss": losses_of(logits, split.targets).mean(1), "accuracy": right}


def run(out: Path, seeds: Sequence[int], epochs: Sequence[int]) -> None:
    """Train everything that the file does not hold yet."""
    done = {(line["seed"], line["germinated"]) for line in read(out)}
    for seed in seeds:
        for germinated in (ALWAYS, *epochs):
            if (seed, germinated) not in done:
                found = train(TOPOLOGIES, seed, germinated)
                own = {"seed": seed, "germinated": germinated}
                lines = [own | {"topology": list(it)} | line for it, line in zip(TOPOLOGIES, found, strict=True)]
                append(out, lines)


def shares(curves: Mapping[Run, Any], kind: str, *, last: bool) -> dict[int, Share]:
    """Return the share of the gain that there is at each age, by least squares, in all epochs or in the last one."""
    sums: dict[int, list[tuple[float, float]]] = defaultdict(list)
    sign = -1 if kind == "loss" else 1
    for (seed, germinated, topology), line in curves.items():
        if germinated == ALWAYS or not any(topology):
            continue
        bare = np.array(curves[seed, ALWAYS, (0, 0, 0)][kind])
        full = sign * (np.array(curves[seed, ALWAYS, topology][kind]) - bare)
        real = sign * (np.array(line[kind]) - bare)
        trained = max(germinated, 1)
        for epoch in range(EPOCHS - 1 if last else trained, EPOCHS):
            sums[epoch - trained + 1].append((full[epoch], real[epoch]))
    return {age: Share.of(np.array(pairs)) for age, pairs in sorted(sums.items())}


def ramp(found: Mapping[int, Share], oldest: int) -> tuple[float, ...]:
    """Return shares by age: interpolated, nowhere falling, the last one the mean of what is as old or older."""
    known = {0: 0.0, 1: 0.0} | {age: it.share for age, it in found.items() if age < oldest}
    known[oldest] = fmean(it.share for age, it in found.items() if age >= oldest)
    values = np.interp(range(oldest + 1), list(known), list(known.values()))
    return tuple(round(float(it), 2) for it in np.maximum.accumulate(np.maximum(values, 0.0)))


def report(out: Path) -> None:
    """Print the shares, and the ramps that the surrogate takes from the last epoch."""
    curves: dict[Run, Any] = {(it["seed"], it["germinated"], tuple(it["topology"])): it for it in read(out)}
    for kind in ("loss", "accuracy"):
        for last in (False, True):
            print(f"\ngain in {kind}, {'last epoch' if last else 'all epochs'}\n")
            print("| age | share of what the table has | error with it | with all of it | with nothing | runs |")
            print("|---|---|---|---|---|---|")
            for age, it in shares(curves, kind, last=last).items():
                errors = " | ".join(f"{error:.3f}" for error in it.errors)
                print(f"| {age} | {it.share:.2f} | {errors} | {it.count} |")
        print(f"\nramp: {ramp(shares(curves, kind, last=True), len(RAMP) - 1)}")


def main() -> None:
    """Do what the command line says."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("run", "report"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--seeds", default="20-21")
    parser.add_argument("--epochs", type=int, nargs="*", default=[0, 3, 6, 9, 11, 13, 15, 17])
    given = parser.parse_args()
    if given.command == "report":
        report(given.file)
        return
    first, _, last = given.seeds.partition("-")
    run(given.file, range(int(first), int(last or first) + 1), given.epochs)


if __name__ == "__main__":
    main()
