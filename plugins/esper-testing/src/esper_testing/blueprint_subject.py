"""A blueprint under test: how it is built, at which sites, and what is fed to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from attrs import field, frozen
from torch import Tensor, nn

from esper_core.leyline.layouts import Layout
from esper_core.leyline.sites import Site
from esper_core.leyline.specs import BlueprintSpec, Capability
from esper_testing.site_modules import site_module
from esper_testing.subject import Subject
from esper_testing.usage import Usage

#: Sites of each layout: small, widths without a large power of two, height and width that differ.
SITES: dict[Layout, tuple[Site, ...]] = {
    Layout.NCHW: (
        Site(id="image8", path="image8", layout=Layout.NCHW, width=8, sample_shape=(8, 6, 6)),
        Site(id="image12", path="image12", layout=Layout.NCHW, width=12, sample_shape=(12, 5, 7)),
    ),
    Layout.BTD: (
        Site(id="text8", path="text8", layout=Layout.BTD, width=8, sample_shape=(6, 8), causal=True),
        Site(id="tokens12", path="tokens12", layout=Layout.BTD, width=12, sample_shape=(5, 12)),
    ),
    Layout.BD: (
        Site(id="vector8", path="vector8", layout=Layout.BD, width=8, sample_shape=(8,)),
        Site(id="vector12", path="vector12", layout=Layout.BD, width=12, sample_shape=(12,)),
    ),
}


#: Sites whose submodule is a linear or convolutional layer, for blueprints whose seeds take its input.
INPUT_SITES: dict[Layout, Site] = {
    Layout.NCHW: Site(
        id="conv8", path="conv8", layout=Layout.NCHW, width=8, sample_shape=(8, 6, 5), input_shape=(6, 6, 5)
    ),
    Layout.BTD: Site(
        id="linear12",
        path="linear12",
        layout=Layout.BTD,
        width=12,
        sample_shape=(5, 12),
        causal=True,
        input_shape=(5, 9),
    ),
    Layout.BD: Site(id="linear7", path="linear7", layout=Layout.BD, width=7, sample_shape=(7,), input_shape=(9,)),
}


@frozen(kw_only=True)
class BlueprintSubject(Subject[BlueprintSpec]):
    """What the blueprint checks look at.

    Attributes:
        spec: the blueprint.
        config: its options; default: those of its options class.
        sites: where seeds are built; default: `SITES` of every layout that the blueprint fits, and `INPUT_SITES` if its
            seeds take the input of a site's submodule.
        rms_limit: how large rms(delta) / rms(h) may become in isolated training.
        device: where seeds are run.
    """

    uses: ClassVar[int] = 100

    sites: tuple[Site, ...] = field(converter=tuple)
    rms_limit: float = 2.0
    device: str = "cpu"

    @sites.default
    def _default_sites(self) -> tuple[Site, ...]:
        fed = self.spec.layouts | self.spec.input_layouts if Capability.SITE_INPUT in self.spec.capabilities else ()
        plain = [site for layout in sorted(self.spec.layouts) for site in SITES[layout]]
        return (*plain, *(INPUT_SITES[layout] for layout in sorted(fed)))

    @property
    def trained_sites(self) -> tuple[Site, ...]:
        """The sites at which seeds are trained: none for a control that does not learn."""
        return self.sites if self.spec.learnable else ()

    @property
    def one_site_per_layout(self) -> tuple[Site, ...]:
        """The first site of each layout, for what takes long."""
        return tuple({site.layout: site for site in reversed(self.sites)}.values())

    def make(self, site: Site) -> nn.Module:
        """Return what the factory builds, on the default device and from torch's generator as it stands.

        A seed that takes the input of the site's submodule is given one that follows from the activation.
        """
        shown = [site_module(site)] if Capability.SITE_MODULE in self.spec.capabilities else []
        module: nn.Module = self.factory(site, self.config, *shown)
        return FedSeed(module, site) if site.input_shape else module

    def build_any(self) -> None:
        """Build one seed."""
        self.make(self.sites[0])

    @contextmanager
    def usage(self) -> Iterator[Usage]:
        """Compute the update at every site, in training and in evaluation."""
        seeds = [(self.awake(site), self.activation(site)) for site in self.sites]
        modes = (False,) if Capability.RANDOM in self.spec.capabilities else (False, True)

        def use() -> Any:
            return [update(module.train(mode), h) for module, h in seeds for mode in modes]

        yield Usage(use=use, handed=[h for _, h in seeds])

    def fingerprint(self) -> Any:
        """Return seeds at birth, and updates of awake ones, of short and of long activations."""
        found: list[Any] = []
        for site in self.sites:
            size = {Layout.NCHW: (11, 11), Layout.BTD: (40,), Layout.BD: None}[site.layout]
            module = self.awake(site)
            found.append([(name, value.clone()) for name, value in self.build(site).state_dict().items()])
            for training in (True, False):
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(0)
                    found.append(update(module.train(training), 3 * self.activation(site, size=size)))
        return found

    def build(self, site: Site, seed: int = 0) -> nn.Module:
        """Return a seed module at birth, from a random stream of its own."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module: nn.Module = self.make(site)
        return module.to(self.device)

    def awake(self, site: Site, seed: int = 0) -> nn.Module:
        """Return a seed module as if it had been trained: every parameter is moved off its value at birth."""
        module = self.build(site, seed)
        generator = torch.Generator().manual_seed(seed + 1)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator).to(self.device), alpha=0.3)
        return module

    def activation(self, site: Site, batch: int = 3, *, size: tuple[int, ...] | None = None, seed: int = 0) -> Tensor:
        """Return a normally distributed activation of a site.

        Args:
            site: where it would occur.
            batch: number of samples.
            size: height and width, or length, in place of the site's own.
            seed: of its random stream.
        """
        shape = site.sample_shape
        if size is not None:
            shape = (site.width, *size) if site.layout is Layout.NCHW else (*size, site.width)
        return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(seed)).to(self.device)


class FedSeed(nn.Module):
    """Gives a seed an input as wide as that of its site's submodule: the activation's features, over and over."""

    def __init__(self, seed: nn.Module, site: Site) -> None:
        super().__init__()
        self.seed = seed
        self.axis = site.layout.width_axis
        self.width = site.input_shape[self.axis - 1]

    def forward(self, h: Tensor) -> Tensor:
        """Return the seed's update of `h`."""
        times = -(-self.width // h.shape[self.axis])
        x = torch.cat([h] * times, dim=self.axis).narrow(self.axis, 0, self.width)
        update: Tensor = self.seed(h, x)
        return update


def update(module: nn.Module, h: Tensor) -> Tensor:
    """Return the module's update of `h`, without a graph."""
    with torch.no_grad():
        delta: Tensor = module(h)
    return delta


def gradients(module: nn.Module, h: Tensor, seed: int = 0) -> dict[str, Tensor | None]:
    """Return the gradient of each trainable parameter for a random gradient of the update."""
    module.zero_grad(set_to_none=True)
    delta = module(h)
    delta.backward(torch.randn(delta.shape, generator=torch.Generator().manual_seed(seed)).to(delta))
    return {name: parameter.grad for name, parameter in module.named_parameters() if parameter.requires_grad}


def rms(x: Tensor) -> float:
    """Return the root of the mean square."""
    return x.square().mean().sqrt().item()
