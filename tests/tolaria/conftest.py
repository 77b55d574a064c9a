"""A small learnable task and plans of hosts for it, independent of any plugin."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from attrs import evolve
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from esper_core.kasmina.config import LifecycleConfig
from esper_core.kasmina.seed_factory import SeedFactory
from esper_core.leyline.catalogue import CatalogueEntry
from esper_core.leyline.evidence import GateResult, SeedEvidence
from esper_core.leyline.layouts import Layout
from esper_core.leyline.protocols import DataShape, HostBuild, Split, Splits, TaskKind
from esper_core.leyline.sites import Site, SiteRequest
from esper_core.leyline.stages import GateLevel
from esper_core.tamiyo.masks import GrowthLimits
from esper_core.tolaria.config import OptimizerConfig
from esper_core.tolaria.host import HostPlan

torch.set_num_threads(1)


class Quadrants:
    """Tell in which quadrant of a noisy 6x6 image the bright patch lies."""

    shape = DataShape(kind=TaskKind.IMAGES, input_shape=(1, 6, 6), outputs=4)
    random_guess_loss = 1.386
    identity = {"name": "quadrants"}

    def __init__(self, sizes: tuple[int, int, int] = (70, 40, 30)) -> None:
        self.sizes = sizes

    def load(self) -> Splits:
        parts = [self._draw(size, seed) for seed, size in enumerate(self.sizes)]
        return Splits(train=parts[0], validation=parts[1], test=parts[2])

    def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        return inputs + 0.05 * torch.randn(inputs.shape, generator=generator)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(outputs, targets, reduction="none")

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(-1) == targets).float()

    @staticmethod
    def _draw(size: int, seed: int) -> Split:
        generator = torch.Generator().manual_seed(seed)
        targets = torch.randint(0, 4, (size,), generator=generator)
        images = 0.7 * torch.randn(size, 1, 6, 6, generator=generator)
        for image, target in zip(images, targets.tolist(), strict=True):
            image[0, 3 * (target // 2) :, 3 * (target % 2) :][:3, :3] += 1.0
        return Split(inputs=images, targets=targets)


class SmallHost(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(inputs, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(), nn.Dropout(dropout))
                for inputs in (1, 4)
            ]
        )
        self.head = nn.Linear(4 * 36, 4)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(x.flatten(1))


class Gain(nn.Module):
    """A gain for each channel, zero at birth, without a bound."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain.view(-1, 1, 1)


class Seed(nn.Module):
    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = nn.Conv2d(site.width, site.width, 3, padding=1)
        self.gain = Gain(site.width)

    def forward(self, h: Tensor) -> Tensor:
        return self.gain(torch.tanh(self.conv(h)))


class RandomSeed(Seed):
    def forward(self, h: Tensor) -> Tensor:
        return torch.dropout(super().forward(h), 0.2, self.training)


class OpenGate:
    """Passes as soon as the seed has stood in its stage for one epoch."""

    consecutive_passes = 1

    def __init__(self, level: GateLevel) -> None:
        self.level = level

    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        return GateResult(gate=self.level, passed=True, reason="open")


def build_host(dropout: float) -> HostBuild:
    host = SmallHost(dropout)
    return HostBuild(module=host, sites=tuple(SiteRequest(path=f"blocks.{i}", id=f"block{i}") for i in range(2)))


def make_plan() -> HostPlan:
    task = Quadrants()
    entries = {"tanh": (Seed, False), "random": (RandomSeed, True)}
    return HostPlan(
        name="grown",
        build=partial(build_host, 0.1),
        task=task,
        splits=task.load(),
        seed_factories={
            name: SeedFactory(
                entry=CatalogueEntry(name=name, layouts=frozenset({Layout.NCHW})),
                build=build,
                draws_random_numbers=random,
            )
            for name, (build, random) in entries.items()
        },
        gates={level: OpenGate(level) for level in GateLevel},
        lifecycle=LifecycleConfig(ramp_epochs=1, embargo_epochs=1),
        limits=GrowthLimits(),
        optimizer=OptimizerConfig(lr=0.05),
        epochs=9,
        batch_size=16,
        seed=7,
    )


@pytest.fixture
def plan() -> HostPlan:
    return make_plan()


@pytest.fixture
def variant(plan: HostPlan) -> Callable[..., HostPlan]:
    return partial(evolve, plan)
