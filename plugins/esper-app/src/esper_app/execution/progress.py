"""How far the present epoch is, for sinks that show it. It is not an event: it depends on the clock."""

from collections.abc import Callable, Iterator
from functools import partial
from math import inf
from time import monotonic

from torch import Tensor

from esper_core.tolaria.data import BatchStream
from esper_core.tolaria.host import GrowingHost, HostPlan
from esper_nissa.hub import Hub

#: Sinks are told at most once in this many seconds.
INTERVAL = 0.25


class Progress:
    """Tells sinks how far an epoch is.

    Args:
        hub: of the run. Where no sink shows progress, hosts are left alone.
        clock: seconds.
    """

    def __init__(self, hub: Hub, clock: Callable[[], float] = monotonic) -> None:
        self._hub = hub
        self._clock = clock
        self._told_at = -inf

    def watch(self, host: GrowingHost) -> None:
        """Count the batches of a host that is in this process."""
        if self._hub.shows_progress:
            host.batches = _CountedBatches(host.plan, host.batches.seed, self._tell)

    def _tell(self, host: str, epoch: int, done: int, steps: int) -> None:
        if (now := self._clock()) - self._told_at >= INTERVAL:
            self._told_at = now
            self._hub.progress(host, epoch, done, steps)


class _CountedBatches(BatchStream):
    def __init__(self, plan: HostPlan, seed: int, tell: Callable[[str, int, int, int], None]) -> None:
        super().__init__(plan.splits.train, plan.task, plan.batch_size, seed)
        self._told = partial(tell, plan.name)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        for done, batch in enumerate(super().epoch(epoch), 1):
            self._told(epoch, done, self.steps)
            yield batch
