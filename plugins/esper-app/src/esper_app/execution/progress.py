"""How far the present epoch is, for sinks that show it. It is not an event: it depends on the clock."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from math import inf
from time import monotonic

from torch import Tensor

from esper_core.leyline.deadline import within
from esper_core.leyline.protocols import ShowsProgress, Sink
from esper_core.nissa.guarded_sink import DEADLINE
from esper_core.tolaria.data import BatchStream
from esper_core.tolaria.host import GrowingHost, HostPlan

#: Sinks are told at most once in this many seconds.
INTERVAL = 0.25


class Progress:
    """Tells sinks how far an epoch is. A sink that raises, or hangs, is not told again.

    Args:
        sinks: a run's; those that do not show progress are left alone.
        clock: seconds.
    """

    def __init__(self, sinks: Iterable[Sink], clock: Callable[[], float] = monotonic) -> None:
        self._sinks = [sink for sink in sinks if isinstance(sink, ShowsProgress)]
        self._clock = clock
        self._told_at = -inf

    def watch(self, host: GrowingHost) -> None:
        """Count the batches of a host that is in this process."""
        if self._sinks:
            host.batches = _CountedBatches(host.plan, host.batches.seed, self._tell)

    def _tell(self, host: str, epoch: int, done: int, steps: int) -> None:
        if (now := self._clock()) - self._told_at < INTERVAL:
            return
        self._told_at = now
        for sink in [*self._sinks]:
            try:
                within(DEADLINE, partial(sink.progress, host, epoch, done, steps))
            except KeyboardInterrupt:
                raise
            except BaseException:  # what a sink does is not to disturb a run; its guard counts what events lead to
                self._sinks.remove(sink)


class _CountedBatches(BatchStream):
    def __init__(self, plan: HostPlan, seed: int, tell: Callable[[str, int, int, int], None]) -> None:
        super().__init__(plan.splits.train, plan.task, plan.batch_size, seed)
        self._told = partial(tell, plan.name)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        for done, batch in enumerate(super().epoch(epoch), 1):
            self._told(epoch, done, self.steps)
            yield batch
