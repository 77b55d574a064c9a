"""A host under test: how it is built, for which data, and what is fed to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from attrs import field, frozen
from torch import Tensor, nn
from torch.nn import functional as F

from esper_core.kasmina.outputs import select
from esper_core.kasmina.sites import confirm_sites
from esper_core.leyline.layouts import Layout
from esper_core.leyline.protocols import DataShape, HostBuild, TaskKind
from esper_core.leyline.sites import Site
from esper_core.leyline.specs import HostSpec
from esper_testing.subject import Subject
from esper_testing.usage import Usage

#: Data for hosts by the layout of their sites: small, of odd sizes.
DATA: dict[Layout, DataShape] = {
    Layout.NCHW: DataShape(kind=TaskKind.IMAGES, input_shape=(3, 12, 9), outputs=5),
    Layout.BTD: DataShape(kind=TaskKind.TOKENS, input_shape=(9,), outputs=11),
    Layout.BD: DataShape(kind=TaskKind.VECTORS, input_shape=(7,), outputs=5),
}


@frozen(kw_only=True)
class HostSubject(Subject[HostSpec]):
    """What the host checks look at.

    Attributes:
        data: what the host is built for; default: images, tokens or vectors, as the layouts of its sites suggest.
    """

    uses: ClassVar[int] = 100

    data: DataShape = field()

    @data.default
    def _default_data(self) -> DataShape:
        return next(data for layout, data in DATA.items() if layout in self.spec.layouts)

    def make(self) -> HostBuild:
        """Return what the factory builds, on the default device and from torch's generator as it stands."""
        build: HostBuild = self.factory(self.config, self.data)
        return build

    def build(self, seed: int = 0) -> HostBuild:
        """Return a new host, its initial weights from a random stream of its own, in training mode."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.make()

    def build_any(self) -> None:
        """Build one host."""
        self.make()

    @contextmanager
    def usage(self) -> Iterator[Usage]:
        """Compute logits of a batch in evaluation."""
        module, inputs = self.build().module, self.batch()
        yield Usage(use=lambda: outputs_of(module, inputs), handed=[inputs])

    def fingerprint(self) -> Any:
        """Return the host at birth, its sites and its outputs, in evaluation and in training."""
        build, inputs = self.build(), self.batch()
        state = [(name, value.clone()) for name, value in build.module.state_dict().items()]
        formats = [value.is_contiguous() for _, value in state]
        evaluated = outputs_of(build.module, inputs)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            trained = build.module.train()(inputs)
        sites = [(it.path, it.id, it.causal) for it in build.sites]
        return state, formats, evaluated, trained, sites, sorted(build.capabilities)

    def batch(self, size: int = 4, seed: int = 0) -> Tensor:
        """Return random inputs."""
        generator = torch.Generator().manual_seed(seed)
        shape = (size, *self.data.input_shape)
        if self.data.kind is TaskKind.TOKENS:
            return torch.randint(self.data.outputs, shape, generator=generator)
        return torch.randn(shape, generator=generator)

    def sites(self, build: HostBuild) -> tuple[Site, ...]:
        """Return the host's sites as one traced batch confirms them, in execution order.

        Raises:
            EsperError: E401 for a site that cannot carry a slot.
        """
        return confirm_sites(build.module, build.sites, lambda module: module(self.batch(2)))


def outputs_of(module: nn.Module, inputs: Tensor) -> Tensor:
    """Return the host's outputs in evaluation mode, without a graph; the mode is left as it was."""
    training = module.training
    try:
        with torch.no_grad():
            outputs: Tensor = module.eval()(inputs)
    finally:
        module.train(training)
    return outputs


def loss_of(outputs: Tensor, seed: int = 0) -> Tensor:
    """Return the cross entropy against random classes."""
    logits = outputs.flatten(0, -2)
    targets = torch.randint(logits.shape[-1], logits.shape[:1], generator=torch.Generator().manual_seed(seed))
    return F.cross_entropy(logits, targets)


@contextmanager
def watching(module: nn.Module, sites: tuple[Site, ...]) -> Iterator[dict[str, Tensor]]:
    """Collect the activations of the sites by their ids, with their gradients retained."""
    seen: dict[str, Tensor] = {}

    def keep(site: Site, output: object) -> None:
        activation = select(output, site.output)
        assert isinstance(activation, Tensor)
        if activation.requires_grad:
            activation.retain_grad()
        seen[site.id] = activation

    handles = [
        module.get_submodule(site.path).register_forward_hook(lambda _m, _a, output, site=site: keep(site, output))
        for site in sites
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
