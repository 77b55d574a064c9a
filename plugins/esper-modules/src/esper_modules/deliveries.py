"""The modules of one host's seeds: fetched from a store, at once or by prefetch, or built in process instead."""

import time
from collections.abc import Callable
from functools import partial

import attrs
from attrs import evolve, frozen
from torch import Tensor, nn

from esper_core.kasmina.seed_factory import Delivery, SeedFactory
from esper_core.kasmina.slot_set import SlotSet
from esper_core.leyline.errors import EsperError
from esper_core.leyline.events import Event
from esper_core.leyline.records import plain
from esper_core.leyline.sites import Site
from esper_modules.activations import Activations
from esper_modules.arrivals import Arrival, Arrivals
from esper_modules.artifacts import Found, SeedArtifacts, Wanted
from esper_modules.comparing import compare
from esper_modules.errors import not_delivered
from esper_modules.events import (
    KERNEL_ANSWER_DROPPED,
    KERNEL_FALLBACK,
    KERNEL_READY,
    KERNEL_UNFIT,
    KernelAnswerDropped,
    KernelFallback,
    KernelReady,
    KernelUnfit,
)
from esper_modules.orders import guard_digest
from esper_modules.prefetching import Prefetcher
from esper_urza.signed_store import Artifact

_KINDS = {
    KernelReady: KERNEL_READY,
    KernelFallback: KERNEL_FALLBACK,
    KernelUnfit: KERNEL_UNFIT,
    KernelAnswerDropped: KERNEL_ANSWER_DROPPED,
}


@frozen(kw_only=True)
class _SeedName:
    """Which seed; every event has these fields."""

    slot: str
    seed_id: str
    blueprint: str


class HostModules:
    """The modules of one host's seeds come from a store (`esper_core.kasmina.seed_factory.Modules`).

    A new seed's artifact is asked for when the seed is germinated, and taken in a tick, which waits for it up to a
    time, or not at all. What becomes of a seed whose artifact does not come depends on `cull`. A seed that had a module
    and is restored takes what the store has at once, or is built in process: its weights are loaded in any case.

    Args:
        artifacts: of this process.
        prefetcher: asks a bus; None: the store is asked, and what is missing is made.
        slot_set: the host.
        inputs: a few inputs, where the host is.
        timeout: seconds that a seed waits for its artifact.
        wait: the tick waits as well; otherwise epochs go by meanwhile.
        cull: a seed whose artifact does not come is culled; otherwise its blueprint builds it in process.
        arrivals: when artifacts arrived before, where that is to be repeated.
    """

    def __init__(
        self,
        artifacts: SeedArtifacts,
        prefetcher: Prefetcher | None,
        slot_set: SlotSet,
        inputs: Tensor,
        *,
        timeout: float,
        wait: bool,
        cull: bool,
        arrivals: Arrivals,
    ) -> None:
        self._artifacts = artifacts
        self._prefetcher = prefetcher
        self._slot_set = slot_set
        self._activations = Activations(slot_set, inputs)
        self._timeout = timeout
        self._wait, self._cull, self._arrivals = wait, cull, arrivals
        self._told: list[Event] = []
        self._asked: dict[str, _SeedName] = {}

    def expect(self, seed_id: str, seed_factory: SeedFactory, site: Site, *, new: bool) -> Delivery:
        """Begin to fetch the artifact of a seed."""
        seed = _SeedName(slot=site.id, seed_id=seed_id, blueprint=seed_factory.entry.name)
        try:
            wanted = self._artifacts.wanted(seed_factory, site, self._slot_set.like(site).dtype)
            if why := self._activations.unlike(site.id, wanted.order):
                raise not_delivered(why)
            fetch = self._fetch(seed, wanted, new=new)
            load: _Load = partial(self._load, site, wanted)
        except EsperError as error:
            fetch, load = partial(_refuse, error), _never
        arrivals = self._arrivals if new else Arrivals()
        return _StoreDelivery(
            fetch, load, seed, self._tell, arrivals, wait=self._wait or not new, cull=self._cull and new, told=new
        )

    def events(self) -> tuple[Event, ...]:
        """Return what there is to tell since it was asked last."""
        if self._prefetcher is not None:
            for request_id, why in self._prefetcher.dropped(self._asked):
                of = attrs.asdict(self._asked[request_id])
                self._tell(KernelAnswerDropped(**of, request_id=request_id, why=why))
        told, self._told = tuple(self._told), []
        return told

    def _fetch(self, seed: _SeedName, wanted: Wanted, *, new: bool) -> "_Fetch":
        if not new:
            return lambda _: self._artifacts.find(wanted)
        if self._prefetcher is None:
            return lambda _: self._artifacts.obtain(wanted, self._timeout)
        request_id = self._prefetcher.ask(wanted.order, self._timeout)
        self._asked[request_id] = seed
        return partial(self._prefetched, self._prefetcher, request_id, wanted)

    def _prefetched(self, prefetcher: Prefetcher, request_id: str, wanted: Wanted, wait: bool) -> Found | None:
        said = prefetcher.wait(request_id) if wait else prefetcher.poll(request_id)
        if said is None:
            return None
        if said.guard_digest != guard_digest(wanted.order):
            raise not_delivered("what was made is for other activations: their guards differ")
        if said.artifact_ref != wanted.inputs.digest:
            raise not_delivered("it was made of something else: other code, another compiler or another torch")
        found = self._artifacts.find(wanted, sha256=said.checksum)
        return evolve(found, way="prefetch", prewarm_p50_ms=said.prewarm_p50_ms, prewarm_p95_ms=said.prewarm_p95_ms)

    def _load(self, site: Site, wanted: Wanted, artifact: Artifact, module: nn.Module) -> tuple[nn.Module, bool]:
        """Return the artifact's module, and whether it gives the bits of `module` on the host's activations."""
        loaded = self._artifacts.load(wanted, artifact, module)
        return loaded, compare(loaded, module, self._activations.at(site.id))

    def _tell(self, payload: KernelReady | KernelFallback | KernelUnfit | KernelAnswerDropped) -> None:
        self._told.append(Event(kind=_KINDS[type(payload)], data=plain(payload)))


_Fetch = Callable[[bool], Found | None]
_Load = Callable[[Artifact, nn.Module], tuple[nn.Module, bool]]


class _StoreDelivery:
    """One seed's module.

    Args:
        fetch: returns its artifact, and waits for it if it is told to; None: it is not there yet.
        load: makes a module of an artifact, with the weights of a module, and says whether it gives the same bits.
        seed: which one.
        tell: takes what becomes of it.
        arrivals: when it arrived before, where that is to be repeated.
        wait: it is waited for in the first tick.
        cull: the seed ends if it gets no module; otherwise its blueprint's own is used.
        told: what goes well is told too.
    """

    def __init__(
        self,
        fetch: _Fetch,
        load: _Load,
        seed: _SeedName,
        tell: Callable[..., None],
        arrivals: Arrivals,
        *,
        wait: bool,
        cull: bool,
        told: bool,
    ) -> None:
        self._fetch, self._load, self._tell = fetch, load, tell
        self._of = attrs.asdict(seed)
        self._arrivals = arrivals
        self._arrival: Arrival | None = None
        self._wait, self._cull, self._told = wait, cull, told
        self._begun = time.monotonic()
        self._waited = 0.0
        self._found: Found | None = None
        self._error: EsperError | None = None

    def ready(self, epoch: int) -> bool:
        """Say whether it is known what becomes of the artifact; wait for that, or not."""
        if self._found is not None or self._error is not None:
            return True
        arrival = self._arrival = self._arrival or self._arrivals.next(self._of["seed_id"], epoch)
        if arrival is not None and epoch < arrival.epoch:
            return False
        try:
            if arrival is not None:
                arrival.refuse()
            self._found = self._fetch(self._wait or arrival is not None)
        except EsperError as error:
            self._error = error
        self._waited = time.monotonic() - self._begun
        return self._found is not None or self._error is not None

    def exchange(self, module: nn.Module) -> nn.Module:
        """Return the module of the artifact with the weights of `module`; or `module`, where there is none.

        Raises:
            EsperError: why there is none, where the seed is to end then.
        """
        try:
            return self._loaded(module)
        except EsperError as error:
            if error.code == "E625":
                if self._told:
                    self._tell(KernelUnfit(**self._of, reason=error.why or error.what))
                return module
            self._tell(
                KernelFallback(
                    **self._of,
                    code=error.code,
                    reason=f"{error.what}: {error.why}" if error.why else error.what,
                    built=not self._cull,
                    waited_seconds=self._waited,
                )
            )
            if self._cull:
                raise
            return module

    def _loaded(self, module: nn.Module) -> nn.Module:
        if self._found is None:
            assert self._error is not None
            raise self._error
        found, begun = self._found, time.monotonic()
        loaded, exact = self._load(found.artifact, module)
        if self._told:
            ready = KernelReady(
                **self._of,
                way=found.way,
                artifact=found.artifact.manifest.inputs.digest,
                compiler=found.artifact.manifest.inputs.compiler,
                replaced=found.replaced,
                exact=exact,
                waited_seconds=self._waited,
                lookup_seconds=found.lookup_seconds,
                load_seconds=time.monotonic() - begun,
                prewarm_p50_ms=found.prewarm_p50_ms,
                prewarm_p95_ms=found.prewarm_p95_ms,
            )
            self._tell(ready)
        return loaded


def _refuse(error: EsperError, wait: bool) -> Found:
    raise error


def _never(artifact: Artifact, module: nn.Module) -> tuple[nn.Module, bool]:
    raise AssertionError("there is no artifact to load")
