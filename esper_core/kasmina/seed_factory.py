"""Where seed modules come from: seed_factories, and the sources that deliver a module."""

from collections.abc import Callable
from copy import deepcopy
from typing import Protocol

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from esper_core.leyline.catalogue import CatalogueEntry
from esper_core.leyline.errors import summary
from esper_core.leyline.sites import Site


class ModuleSource(Protocol):
    """Delivers a seed module, now or later."""

    def poll(self) -> nn.Module | None:
        """Return the module, or None while it is not ready. Raises whatever keeps it from ever being ready."""
        ...


@frozen(kw_only=True)
class SeedFactory:
    """A catalogue entry that can be built.

    Attributes:
        entry: the catalogue entry.
        build: makes the seed module for a site; picklable, so that a host can move to another process.
        draws_random_numbers: the seed gets a random stream of its own.
        takes_mask: the seed takes a padding mask, where the site has one.
    """

    entry: CatalogueEntry
    build: Callable[[Site], nn.Module]
    draws_random_numbers: bool = False
    takes_mask: bool = False


class LocalSource:
    """Builds the module in this process at the first poll, from a random stream of its own."""

    def __init__(self, build: Callable[[Site], nn.Module], site: Site, stream: int) -> None:
        self._build = build
        self._site = site
        self._stream = stream

    def poll(self) -> nn.Module:
        """Build the module. The global random state is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._stream)
            return self._build(self._site)


def probe_module(module: nn.Module, site: Site, stream: int, like: Tensor, *, masked: bool = False) -> str:
    """Run the module once on random input and say what is wrong with it; "" if nothing is.

    Args:
        module: the seed module.
        site: where it shall act.
        stream: seed of the probe's random numbers; the global random state is left as it was.
        like: a tensor whose device and dtype the host's activations have.
        masked: run it with a padding mask.
    """
    h = _probe_input(site, stream, like)
    given = (h.clone(), _probe_mask(h)) if masked else (h.clone(),)
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


def normalises_its_input(module: nn.Module, site: Site, stream: int, like: Tensor) -> bool:
    """Say whether the module hands an input that needs no gradient straight to a group normalisation.

    A copy of it is run as it will be in training, so that what it keeps of its input (running statistics) stays.
    Raises whatever the module raises.
    """
    watch = _GroupNormWatch()
    with torch.random.fork_rng(devices=[]), watch:
        deepcopy(module)(_probe_input(site, stream, like))
    return watch.seen


def _probe_input(site: Site, stream: int, like: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(stream)
    return torch.randn(site.shape(2), generator=generator).to(like)


def _probe_mask(h: Tensor) -> Tensor:
    mask = torch.ones(h.shape[:2], dtype=torch.bool, device=h.device)
    mask[1, -1] = False
    return mask


class _GroupNormWatch(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = getattr(func, "__name__", "")
        if name in ("group_norm", "native_group_norm") and not args[0].requires_grad:
            self.seen = True
        return func(*args, **(kwargs or {}))
