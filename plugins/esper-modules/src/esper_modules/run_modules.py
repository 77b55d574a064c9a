"""What a run needs so that its seeds come from a store; one for each process in which hosts live."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from esper_core.kasmina.slot_set import SlotSet
from esper_core.plugins.registry import Registry
from esper_core.plugins.selection import Selection
from esper_modules.arrivals import arrivals_in
from esper_modules.artifacts import SeedArtifacts
from esper_modules.compile_process import COMMAND, selection_data
from esper_modules.deliveries import HostModules
from esper_modules.prefetching import Prefetcher
from esper_oona.bus import Bus
from esper_oona.keys import keyring
from esper_oona.signing import Signer
from esper_oona.state import state_directory
from esper_tezzeret.apart import Workshop
from esper_urza.signed_store import SignedStore
from esper_urza.store import Store


class RunModules:
    """Makes what each host's modules come from. Store and bus are opened when a seed needs them first.

    Args:
        registry: the run's components.
        selection: the run's plugins, for processes that compile.
        blueprints: the names of the run's blueprints.
        open_store: opens the store.
        compiler: the compiler's name.
        open_bus: opens the bus; None: artifacts are not asked for on one, but made by this process's own children.
        name: who asks, for those who read.
        timeout: seconds that a seed waits for its artifact.
        wait: epochs wait as well; otherwise they go by meanwhile.
        cull: a seed whose artifact does not come is culled; otherwise its blueprint builds it in process.
    """

    def __init__(
        self,
        registry: Registry,
        selection: Selection,
        blueprints: Iterable[str],
        *,
        open_store: Callable[[], Store],
        compiler: str,
        open_bus: Callable[[], Bus] | None,
        name: str,
        timeout: float,
        wait: bool,
        cull: bool,
    ) -> None:
        workshop = Workshop(command=COMMAND, plugins=selection_data(selection), timeout=timeout)
        self._artifacts = SeedArtifacts(partial(_signed, open_store), registry, compiler, workshop)
        self._artifacts.learn_code(blueprints)
        self._timeout, self._wait, self._cull = timeout, wait, cull
        self._events: tuple[Mapping[str, Any], ...] = ()
        self._prefetcher = None
        if open_bus is not None:
            signer = Signer(keyring(state_directory()))
            self._prefetcher = Prefetcher(open_bus, signer, name=name)

    def check(self) -> None:
        """Check that store and compiler can be used, before anything is trained. Raises as `SeedArtifacts.check`."""
        self._artifacts.check()

    def repeat(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Let modules arrive in the epochs in which a run's log says that they did."""
        self._events = tuple(events)

    def host(self, inputs: Tensor, slot_set: SlotSet, name: str) -> HostModules:
        """Return what the modules of one host come from; `inputs` are a few inputs, where the host is."""
        return HostModules(
            self._artifacts,
            self._prefetcher,
            slot_set,
            inputs,
            timeout=self._timeout,
            wait=self._wait,
            cull=self._cull,
            arrivals=arrivals_in(self._events, name),
        )


def _signed(open_store: Callable[[], Store]) -> SignedStore:
    return SignedStore(open_store(), keyring(state_directory()))
