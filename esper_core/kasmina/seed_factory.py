"""Where seed modules come from: seed_factories, and the sources that deliver a module."""

from collections.abc import Callable
from copy import deepcopy
from typing import Protocol

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from esper_core.kasmina.probing import probe_arguments
from esper_core.kasmina.slot import bare_copy
from esper_core.leyline.catalogue import CatalogueEntry
from esper_core.leyline.errors import summary
from esper_core.leyline.events import Event
from esper_core.leyline.sites import Site


class ModuleSource(Protocol):
    """Delivers a seed module, now or later."""

    def poll(self, epoch: int) -> nn.Module | None:
        """Return the module, or None while it is not ready. Raises whatever keeps it from ever being ready."""
        ...


class Delivery(Protocol):
    """Puts something else in the place of one seed's module, with the same weights."""

    def ready(self, epoch: int) -> bool:
        """Say, before an epoch, whether it is known what that is; it may wait for it. Raises what ends the seed."""
        ...

    def exchange(self, module: nn.Module) -> nn.Module:
        """Return what stands in for a module of its blueprint, or that module itself. Raises what ends the seed."""
        ...


class Modules(Protocol):
    """Where the modules of one host's seeds come from, if not from their blueprints."""

    def expect(self, seed_id: str, seed_factory: "SeedFactory", site: Site, *, new: bool) -> Delivery:
        """Begin to fetch what stands in for a seed's module; it waits for nothing.

        Args:
            seed_id: the seed's.
            seed_factory: builds its module.
            site: where it shall act.
            new: it has no module yet; otherwise it had one, is being restored, and is taken in at once.
        """
        ...

    def events(self) -> tuple[Event, ...]:
        """Return what there is to tell since it was asked last."""
        ...


@frozen(kw_only=True)
class SeedFactory:
    """A catalogue entry that can be built.

    Attributes:
        entry: the catalogue entry.
        build: makes the seed module for a site; picklable, so that a host can move to another process.
        draws_random_numbers: the seed gets a random stream of its own.
        takes_mask: the seed takes a padding mask, where the site has one.
        takes_input: the seed takes the input of the site's submodule, where that is known.
        shown_module: `build` takes a copy of the site's submodule as well.
    """

    entry: CatalogueEntry
    build: Callable[..., nn.Module]
    draws_random_numbers: bool = False
    takes_mask: bool = False
    takes_input: bool = False
    shown_module: bool = False

    def build_in(self, model: nn.Module, site: Site) -> nn.Module:
        """Make the seed module for a site of this model."""
        return self.build(site, *([bare_copy(model.get_submodule(site.path))] if self.shown_module else []))


class LocalSource:
    """Builds the module in this process at the first poll, from a random stream of its own."""

    def __init__(
        self, build: Callable[[Site], nn.Module], site: Site, stream: int, ready: Callable[[int], bool]
    ) -> None:
        self._build = build
        self._site = site
        self._stream = stream
        self._ready = ready

    def poll(self, epoch: int) -> nn.Module | None:
        """Build the module when all is ready for it. The global random state is left as it was."""
        if not self._ready(epoch):
            return None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._stream)
            return self._build(self._site)


def probe_module(
    module: nn.Module, site: Site, stream: int, like: Tensor, *, masked: bool = False, fed: bool = False
) -> str:
    """Run the module once on random input and say what is wrong with it; "" if nothing is.

    Args:
        module: the seed module.
        site: where it shall act.
        stream: seed of the probe's random numbers; the global random state is left as it was.
        like: a tensor whose device and dtype the host's activations have.
        masked: run it with a padding mask.
        fed: run it with an input of the site's submodule.
    """
    h, *beside = probe_arguments(site, stream, like, masked=masked, fed=fed)
    given = (h.clone(), *beside)
    training = module.training
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            delta = module.eval()(*given)
    except (Exception, SystemExit) as error:  # whatever a third party's module raises is its probe's result
        return f"it raised {summary(error)}"
    finally:
        module.train(training)
    if not isinstance(delta, Tensor):
        return f"it returned a {type(delta).__name__}, not a tensor"
    if delta.shape != h.shape:
        return f"it returned shape {tuple(delta.shape)} for input {tuple(h.shape)}"
    if delta.dtype != h.dtype:
        return f"it returned {delta.dtype} for input of {h.dtype}"
    if not bool(delta.isfinite().all()):
        return "it returned numbers that are not finite"
    if not torch.equal(given[0], h):
        return "it has written into its input, which is the host's"
    return ""


def normalises_its_input(module: nn.Module, site: Site, stream: int, like: Tensor, *, fed: bool = False) -> bool:
    """Say whether the module hands an input that needs no gradient straight to a group normalisation.

    A copy of it is run as it will be in training, so that what it keeps of its input (running statistics) stays.
    Raises whatever the module raises.
    """
    watch = _GroupNormWatch()
    with torch.random.fork_rng(devices=[]), watch:
        deepcopy(module)(*probe_arguments(site, stream, like, fed=fed))
    return watch.seen


class _GroupNormWatch(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = getattr(func, "__name__", "").partition(".")[0]  # of an exported program: group_norm.default
        if name in ("group_norm", "native_group_norm") and not args[0].requires_grad:
            self.seen = True
        return func(*args, **(kwargs or {}))
