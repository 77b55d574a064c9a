"""What incubation costs: an epoch of training with seeds of each kind of incubation beside the bare host's.

The network is the host `cnn` on 28x28 images with seeds of `conv-light` behind its first blocks. It is trained as a run
trains it, the proof of isolation on each epoch's first batch included. `ste` and `probe` are a seed in TRAINING; `none`
is one whose ramp begins at birth, so it is in BLENDING. All variants stand side by side in one process and are timed in
turn, in CPU time and one thread; shown are the medians of the rounds' ratios to the bare host, and the quartiles.

    python tests/benchmarks/incubation_cost.py [--rounds 11] [--steps 40] [--batch-size 128] [--widths 8 16]
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median, quantiles
from time import process_time

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from esper_blueprint_conv_light.config import ConvLightConfig
from esper_blueprint_conv_light.module import ConvLight
from esper_core.kasmina.config import LifecycleConfig
from esper_core.kasmina.seed_factory import SeedFactory
from esper_core.leyline.actions import Action, Op
from esper_core.leyline.catalogue import CatalogueEntry
from esper_core.leyline.evidence import GateResult, SeedEvidence
from esper_core.leyline.layouts import Layout
from esper_core.leyline.protocols import DataShape, Split, Splits, TaskKind
from esper_core.leyline.sites import Site
from esper_core.leyline.stages import Blend, GateLevel, Incubation, Stage
from esper_core.tamiyo.masks import GrowthLimits
from esper_core.tolaria.config import OptimizerConfig
from esper_core.tolaria.host import GrowingHost, HostPlan
from esper_core.tolaria.training import GradientWatch, train_epoch
from esper_host_cnn.cnn import build
from esper_host_cnn.config import CnnConfig

SHAPE = DataShape(kind=TaskKind.IMAGES, input_shape=(1, 28, 28), outputs=10)


class Noise:
    """A task of random images and classes: what is learned does not matter here."""

    shape = SHAPE
    random_guess_loss = 2.3
    identity = {"name": "noise"}

    def __init__(self, samples: int) -> None:
        generator = torch.Generator().manual_seed(1)
        inputs = torch.randn(samples, *SHAPE.input_shape, generator=generator)
        self.split = Split(inputs=inputs, targets=torch.randint(0, 10, (samples,), generator=generator))

    def load(self) -> Splits:
        return Splits(train=self.split, validation=self.split, test=self.split)

    def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        return inputs

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(outputs, targets, reduction="none")

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(-1) == targets).float()


class OpenGate:
    """Lets every seed through."""

    consecutive_passes = 1

    def __init__(self, level: GateLevel) -> None:
        self.level = level

    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        return GateResult(gate=self.level, passed=True)


def conv_light(site: Site) -> ConvLight:
    return ConvLight(site, ConvLightConfig())


def host_with(incubation: Incubation, seeds: int, arguments: argparse.Namespace) -> GrowingHost:
    """Return a host whose seeds have just begun."""
    task = Noise(arguments.steps * arguments.batch_size)
    entry = CatalogueEntry(name="conv-light", layouts=frozenset({Layout.NCHW}))
    plan = HostPlan(
        name="host",
        build=partial(build, CnnConfig(widths=tuple(arguments.widths)), SHAPE),
        task=task,
        splits=task.load(),
        seed_factories={"conv-light": SeedFactory(entry=entry, build=conv_light)},
        gates={level: OpenGate(level) for level in GateLevel},
        lifecycle=LifecycleConfig(incubation=incubation, ramp_epochs=2),
        limits=GrowthLimits(),
        optimizer=OptimizerConfig(lr=0.01, schedule="constant"),
        epochs=2,
        batch_size=arguments.batch_size,
        seed=0,
    )
    host = GrowingHost(plan)
    for site in host.sites[:seeds]:
        host.apply(Action(op=Op.GERMINATE, slot=site.id, blueprint="conv-light", blend=Blend.LINEAR))
    host.growth.tick(0)
    expected = Stage.BLENDING if incubation is Incubation.NONE else Stage.TRAINING
    assert all(life.stage is expected for life in host.growth.seeds.values())
    return host


def epoch_of(host: GrowingHost) -> Callable[[], None]:
    """Return what trains the host for its first epoch, again and again: its seeds stay in the stage that they have."""

    def epoch() -> None:
        train_epoch(
            host.growth,
            host.optimizer,
            host.rates,
            host.plan.task,
            host.batches.epoch(0),
            GradientWatch(host.growth),
            epoch=0,
            steps=host.batches.steps,
            clip_norm=None,
        )

    return epoch


def spread(spent: Sequence[float], base: Sequence[float]) -> str:
    ratios = [a / b for a, b in zip(spent, base, strict=True)]
    low, _, high = quantiles(ratios, n=4)
    return f"{median(ratios):.2f} ({low:.2f}-{high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--steps", type=int, default=40, help="batches in an epoch")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--widths", type=int, nargs="+", default=(8, 16))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    works = {"bare host": epoch_of(host_with(Incubation.STE, 0, arguments))}
    for seeds in range(1, len(arguments.widths) + 1):
        for incubation in Incubation:
            works[f"{incubation}, {seeds} seed{'s' * (seeds > 1)}"] = epoch_of(host_with(incubation, seeds, arguments))
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(arguments.rounds + 1):  # the first round does not count
        for name, work in works.items():
            began = process_time()
            work()
            if turn:
                times[name].append(process_time() - began)
    base = times["bare host"]
    print(f"{arguments.steps} steps of {arguments.batch_size}, widths {tuple(arguments.widths)}: {median(base):.2f} s")
    print("\n| | epoch over the bare host's, median (quartiles) |\n|---|---|")
    for name, spent in times.items():
        print(f"| {name} | {spread(spent, base)} |", flush=True)


if __name__ == "__main__":
    main()
