"""When the modules of seeds arrived, as a run's log says it: a run that does not wait repeats that when it goes on."""

from collections.abc import Iterable, Mapping
from typing import Any

import attrs
from attrs import frozen
from torch import Tensor, nn

from esper_core.kasmina.seed_factory import Delivery, SeedFactory
from esper_core.kasmina.slot_set import SlotSet
from esper_core.leyline.errors import EsperError
from esper_core.leyline.events import Event
from esper_core.leyline.sites import Site
from esper_core.leyline.structure import structure
from esper_modules.events import KERNEL_FALLBACK, KERNEL_READY, KernelFallback


@frozen(kw_only=True)
class Arrival:
    """A seed had its module, or it was known that there will be none.

    Attributes:
        seed_id: the seed's.
        epoch: before which that was.
        fallback: why there was none; None: there was one.
    """

    seed_id: str
    epoch: int
    fallback: KernelFallback | None = None

    def refuse(self) -> None:
        """Raise again what kept the module from coming, if anything did."""
        if self.fallback is not None:
            raise EsperError(self.fallback.code, self.fallback.reason)


@frozen
class Arrivals:
    """All arrivals of one host's seeds, oldest first."""

    all: tuple[Arrival, ...] = ()

    def next(self, seed_id: str, epoch: int) -> Arrival | None:
        """Return a seed's first arrival before this epoch or a later one. After a rollback a name is given again."""
        return next((it for it in self.all if it.seed_id == seed_id and it.epoch >= epoch), None)


def arrivals_in(events: Iterable[Mapping[str, Any]], host: str) -> Arrivals:
    """Return the arrivals of a host's seeds in a run's log.

    Args:
        events: plain events, oldest first.
        host: its name.
    """
    found = []
    for event in events:
        if event["host"] == host and event["kind"] in (KERNEL_READY, KERNEL_FALLBACK):
            fallback = structure(KernelFallback, dict(event["data"])) if event["kind"] == KERNEL_FALLBACK else None
            found.append(Arrival(seed_id=event["data"]["seed_id"], epoch=event["epoch"], fallback=fallback))
    return Arrivals(tuple(found))


class ReplayedModules:
    """Modules that their blueprints build, and that arrive when a run's log says so (`RunModules` of `esper_app`)."""

    def __init__(self) -> None:
        self._events: tuple[Mapping[str, Any], ...] = ()

    def check(self) -> None:
        """There is nothing to check: neither a store nor a bus is used."""

    def repeat(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Let modules arrive in the epochs in which a run's log says that they did."""
        self._events = tuple(events)

    def host(self, inputs: Tensor, slot_set: SlotSet, name: str) -> "_Replayed":
        """Return what the modules of one host come from."""
        return _Replayed(arrivals_in(self._events, name))


@frozen
class _Replayed:
    arrivals: Arrivals

    def expect(self, seed_id: str, seed_factory: SeedFactory, site: Site, *, new: bool) -> Delivery:
        return _Delayed(self.arrivals, seed_id, new)

    def events(self) -> tuple[Event, ...]:
        return ()


@attrs.define
class _Delayed:
    arrivals: Arrivals
    seed_id: str
    new: bool
    _arrival: Arrival | None = None

    def ready(self, epoch: int) -> bool:
        if self.new and self._arrival is None:
            self._arrival = self.arrivals.next(self.seed_id, epoch)
        return self._arrival is None or epoch >= self._arrival.epoch

    def exchange(self, module: nn.Module) -> nn.Module:
        fallback = None if self._arrival is None else self._arrival.fallback
        if self._arrival is not None and fallback is not None and not fallback.built:
            self._arrival.refuse()
        return module
