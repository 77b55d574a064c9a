"""Seeds under inspection: two hooks on the seed's module look at what goes in and what comes out."""

from collections.abc import Callable
from typing import Any

import torch
from attrs import define, evolve, field, frozen
from torch import Tensor, nn

from esper_core.kasmina.seed_factory import SeedFactory
from esper_core.leyline.sites import Site
from esper_testing.watching.inspection import GlobalRandom, Inspection


def inspected_recipe(seed_factory: SeedFactory, title: str, inspection: Inspection) -> SeedFactory:
    """Return a seed_factory whose seeds are inspected; their parameters and buffers keep their names.

    Looked at in every call: shape, dtype, and that the activation is left as it is. In the first call, which is before
    any training: that the update is zero. In a sample of calls: that it is finite while the seed's parameters are, and
    that no global generator was moved, unless the seed declares that it draws random numbers.
    """
    build = _InspectedBuild(
        seed_factory.build, title, seed_factory.entry.learnable, seed_factory.draws_random_numbers, inspection
    )
    return evolve(seed_factory, build=build)


@frozen
class _InspectedBuild:
    build: Callable[..., nn.Module]
    title: str
    learnable: bool
    random: bool
    inspection: Inspection

    def __call__(self, site: Site, *shown: nn.Module) -> nn.Module:
        module = self.build(site, *shown)
        with self.inspection as inspection:
            if not isinstance(module, nn.Module):
                inspection.broken(
                    self.title,
                    f"built a {type(module).__name__}, not a module",
                    cause="a factory without a return",
                    fix="return the torch.nn.Module that computes the update",
                )
            if self.learnable and not any(parameter.requires_grad for parameter in module.parameters()):
                inspection.broken(
                    self.title,
                    "built a seed without a trainable parameter",
                    cause="tensors that are no nn.Parameter, or modules in a plain list",
                    fix="register them, or declare learnable=False",
                )
        SeedInspector(title=self.title, random=self.random, inspection=self.inspection).watch(module)
        return module


@define(kw_only=True, eq=False)
class SeedInspector:
    """Looks at the calls of one seed.

    Attributes:
        title: the blueprint, for messages.
        random: it may draw random numbers.
        inspection: the run's account.
    """

    title: str
    random: bool
    inspection: Inspection
    _at_birth: bool = field(default=True, init=False)
    _version: int | None = field(default=None, init=False)
    _generators: GlobalRandom | None = field(default=None, init=False)

    def watch(self, module: nn.Module) -> None:
        """Begin to look at the module's calls."""
        module.register_forward_pre_hook(self.before)
        module.register_forward_hook(self.after)

    def before(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Take down how things stand before the call."""
        h = args[0]
        with self.inspection as inspection:
            self._version = None if h.is_inference() else h._version
            close = _has_values(h) and inspection.due(self.title, module.training, torch.is_grad_enabled())
            self._generators = GlobalRandom() if close else None

    def after(self, module: nn.Module, args: tuple[Any, ...], delta: Any) -> None:
        """Compare with what a seed may do.

        Raises:
            EsperError: E530.
        """
        h = args[0]
        with self.inspection:
            self._require_like(h, delta)
            if self._version is not None and h._version != self._version:
                self._broken(
                    "changed the activation that it was given", "an operation in place", "work on a new tensor"
                )
            if not _has_values(h):
                return
            if self._at_birth:
                self._at_birth = False
                self._require_zero(delta)
            if self._generators is not None:
                self._look_closely(module, h, delta, self._generators)

    def _require_like(self, h: Tensor, delta: Any) -> None:
        if not isinstance(delta, Tensor):
            self._broken(f"returned a {type(delta).__name__}", "a tuple of several results", "return the update alone")
        if delta.shape != h.shape or delta.device != h.device:
            seen = f"returned {tuple(delta.shape)} on {delta.device} for {tuple(h.shape)} on {h.device}"
            self._broken(seen, "a layer that changes the size, or a constant on another device", "end in h's shape")
        if delta.dtype != h.dtype and not torch.is_autocast_enabled(h.device.type):
            self._broken(f"returned {delta.dtype} for {h.dtype}", "arithmetic in another dtype", "end in .to(h.dtype)")

    def _require_zero(self, delta: Tensor) -> None:
        if bool(delta.count_nonzero()):
            self._broken(
                f"returned an update of up to {delta.abs().max().item():.3g} at birth",
                "a last factor that does not begin at zero",
                "end in a gain that begins at zero, such as esper_core.nn.BoundedGain",
            )

    def _look_closely(self, module: nn.Module, h: Tensor, delta: Tensor, generators: GlobalRandom) -> None:
        # A seed that training made non-finite is for gates and slots to deal with.
        healthy = [h, *module.parameters(), *module.buffers()]
        if not bool(delta.isfinite().all()) and all(bool(tensor.isfinite().all()) for tensor in healthy):
            cause = "a division by zero, or a root or logarithm of something negative"
            self._broken("returned an update that is not finite, for finite input and parameters", cause, "add an eps")
        if not self.random:
            generators.require_still(self.inspection, self.title, "computing an update")

    def _broken(self, seen: str, cause: str, fix: str) -> None:
        self.inspection.broken(self.title, seen, cause=cause, fix=fix)


def _has_values(tensor: Tensor) -> bool:
    """Costs are counted on tensors that have none."""
    return type(tensor) in (Tensor, nn.Parameter) and not tensor.is_meta
