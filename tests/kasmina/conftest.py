"""Hosts, seeds and gates to grow with, independent of any plugin."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from esper_core.kasmina.config import LifecycleConfig
from esper_core.kasmina.growth import Growth
from esper_core.kasmina.root_module import prepare_root
from esper_core.kasmina.seed_factory import SeedFactory
from esper_core.kasmina.sites import confirm_sites
from esper_core.leyline.catalogue import CatalogueEntry
from esper_core.leyline.evidence import GateResult, SeedEvidence
from esper_core.leyline.layouts import Layout
from esper_core.leyline.sites import Site, SiteRequest
from esper_core.leyline.stages import GateLevel
from esper_core.nn import BoundedGain

torch.set_num_threads(1)


class ConvHost(nn.Module):
    """Two convolutional blocks and a linear head; every flavour that a host may have."""

    def __init__(self, norm: str = "none", *, channels_last: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.channels_last = channels_last
        self.blocks = nn.ModuleList([self._block(1, 8, norm, dropout), self._block(8, 8, norm, dropout)])
        self.head = nn.Linear(8, 5)
        if channels_last:
            self.to(memory_format=torch.channels_last)

    @staticmethod
    def _block(inputs: int, outputs: int, norm: str, dropout: float) -> nn.Sequential:
        norms = {"none": nn.Identity(), "group": nn.GroupNorm(2, outputs), "batch": nn.BatchNorm2d(outputs)}
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1), norms[norm], nn.ReLU(), nn.Dropout(dropout), nn.MaxPool2d(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(dim=(2, 3)))


class ConvSeed(nn.Module):
    """conv3x3, group normalisation, ReLU, gain; zero at birth unless `gain` is given."""

    def __init__(self, site: Site, gain: float = 0.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(site.width, site.width, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(2, site.width)
        self.gain = BoundedGain(site.width, Layout.NCHW)
        nn.init.constant_(self.gain.gain, gain)

    def forward(self, h: Tensor) -> Tensor:
        return self.gain(torch.relu(self.norm(self.conv(h))), h)


class NormFirstSeed(nn.Module):
    """Begins with a group normalisation: the layer whose channels_last backward is dangerous."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(2, site.width)
        self.gain = BoundedGain(site.width, Layout.NCHW)

    def forward(self, h: Tensor) -> Tensor:
        return self.gain(self.norm(h) - h, h)


class DropoutSeed(ConvSeed):
    def forward(self, h: Tensor) -> Tensor:
        return torch.dropout(super().forward(h), 0.5, self.training)


class PoisonSeed(ConvSeed):
    """Every number that it computes is NaN once `poisoned` is set."""

    poisoned = False

    def forward(self, h: Tensor) -> Tensor:
        delta = super().forward(h)
        return delta * float("nan") if self.poisoned else delta


class RootSeed(ConvSeed):
    """Its gradient is not finite where its input is zero, although its value is."""

    def forward(self, h: Tensor) -> Tensor:
        return h.abs().sqrt()


class AnyGate:
    """Passes whatever `passes` says; by default always."""

    consecutive_passes = 1

    def __init__(self, level: GateLevel, passes: Callable[[SeedEvidence], bool] = lambda _: True) -> None:
        self.level = level
        self.passes = passes

    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        return GateResult(gate=self.level, passed=self.passes(evidence), reason="as the test wants it")


SEEDS = {
    "conv": (ConvSeed, False),
    "norm-first": (NormFirstSeed, False),
    "dropout": (DropoutSeed, True),
    "poison": (PoisonSeed, False),
    "root": (RootSeed, False),
    "loud": (lambda site: ConvSeed(site, gain=1.0), False),
}


def _recipes() -> dict[str, SeedFactory]:
    return {
        name: SeedFactory(
            entry=CatalogueEntry(name=name, layouts=frozenset({Layout.NCHW})), build=build, draws_random_numbers=random
        )
        for name, (build, random) in SEEDS.items()
    }


@pytest.fixture
def host_class() -> type[ConvHost]:
    return ConvHost


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(12, 1, 8, 8, generator=generator), torch.randint(0, 5, (12,), generator=generator)


@pytest.fixture
def all_pass() -> dict[GateLevel, AnyGate]:
    return {level: AnyGate(level) for level in GateLevel}


@pytest.fixture
def gate_class() -> type[AnyGate]:
    return AnyGate


@pytest.fixture
def make_growth(batch: tuple[Tensor, Tensor], all_pass: dict[GateLevel, AnyGate]) -> Callable[..., Growth]:
    """Return a function that makes a model growable: sites behind both blocks."""

    def make(
        model: nn.Module,
        optimizer: Callable[..., torch.optim.Optimizer] = lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        gates: dict[GateLevel, AnyGate] | None = None,
        paths: tuple[str, ...] = ("blocks.0", "blocks.1"),
        seed: int = 3,
        **config: object,
    ) -> Growth:
        root = prepare_root(model)
        requests = [SiteRequest(path=path, id=path.replace("blocks.", "block")) for path in paths]
        sites = confirm_sites(root, requests, lambda m: m(batch[0]))
        return Growth(
            root,
            sites,
            optimizer(root.parameters()),
            _recipes(),
            gates or all_pass,
            LifecycleConfig(**config),
            seed,
            seed_learning_rate=0.1,
        )

    return make
