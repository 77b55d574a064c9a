"""The hub hands events to the sinks of one run, and keeps what sinks do away from training."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from esper_core.leyline.errors import EsperError
from esper_core.leyline.events import Event, EventKind, Level
from esper_core.leyline.protocols import Sink
from esper_core.leyline.structure import structure
from esper_nissa.event_filter import EventFilter, TelemetryState, Volume
from esper_nissa.queue_limits import BATCH, QueueLimits
from esper_nissa.sink_counts import SinkCounts
from esper_nissa.sink_worker import SinkWorker, sink_failed
from esper_nissa.telemetry_rules import TelemetryRules

_LIMITS = QueueLimits()
_RULES = TelemetryRules()

#: What a sink may add to a run: everything else says what the run itself did.
TOLD = frozenset({EventKind.ALERT, EventKind.NOTICE})

#: Events of sinks that wait for their numbers at most, and how often they are waited for in a flush.
_MOST_TOLD, _ROUNDS = 1_000, 8


class Hub:
    """Numbers events, stamps them, and hands them in order to every sink, which takes them in a thread of its own.

    Events above the wanted level are left out before they are numbered: a log whose numbers have no gap is complete.
    A sink that raises three times is disabled; its counts say what was lost, and one PLUGIN_FAILED tells the others.

    Args:
        sinks: built sinks by name.
        rules: how much telemetry is wanted.
        clock: seconds since 1970.
        first: number of the first event, for a run that goes on.
        limits: of each sink's queue.
        strict: raise what a sink raises (E504) instead of counting it.
        in_step: wait for the sinks with every delivery, so that nothing else happens while they are called; also if
            `strict`.

    Attributes:
        levels: of kinds of events that are not the core's, by name; without one it is normal.
    """

    def __init__(
        self,
        sinks: Mapping[str, Sink],
        *,
        rules: TelemetryRules = _RULES,
        clock: Callable[[], float] = time.time,
        strict: bool = False,
        in_step: bool = False,
        first: int = 0,
        limits: QueueLimits = _LIMITS,
    ) -> None:
        self._workers = [SinkWorker(name, sink, limits) for name, sink in sinks.items()]
        self._filter = EventFilter(rules)
        self.levels = self._filter.levels
        self._clock = clock
        self._began = time.monotonic()
        self._run = ""
        self._strict = strict
        self._in_step = in_step or strict
        # Never replaced: a signal handler may add to it at any moment.
        self._arrived: deque[Event] = deque()
        self._taking = False
        self._batch: list[Event] = []
        self._longest = min(BATCH, limits.capacity)
        self._next_number = first
        self._open = False

    def open(self, manifest: Mapping[str, Any]) -> None:
        """Begin the run in every sink. This is before training, so what a sink raises is raised.

        Raises:
            EsperError: the sink's own, or E504 around anything else. The sinks that are open by then are closed.
        """
        for index, worker in enumerate(self._workers):
            try:
                worker.connect(self.tell)
                worker.open(manifest)
            except BaseException as error:
                for earlier in self._workers[:index]:
                    earlier.close()
                if isinstance(error, EsperError | KeyboardInterrupt):
                    raise
                raise sink_failed(worker.name, "open", error) from error
        self._run, self._began = str(manifest.get("name") or ""), time.monotonic()
        self._open = True

    def emit(self, event: Event) -> None:
        """Take an event. It is on its way to the sinks at the epoch's end at the latest, a rare one at once.

        Raises:
            RuntimeError: before `open` and after `close`.
            EsperError: E504 if a sink does not keep up and the policy is to fail; if strict, what a sink raised.
        """
        if not self._open:
            raise RuntimeError("the hub is not open")
        self._take(event)
        if event.kind is EventKind.EPOCH_COMPLETED:
            for worker in self._workers:
                worker.want_flush()
            self._settle()

    def tell(self, event: Event) -> None:
        """Take an event from a sink, in any thread: it is numbered with the run's next one, or at the next flush.

        Raises:
            ValueError: for a kind that only the run itself emits.
            RuntimeError: if too many are waiting, because nothing happens in the run.
        """
        if event.kind not in TOLD:
            raise ValueError(f"a sink cannot add an event of the kind {event.kind}")
        if len(self._arrived) >= _MOST_TOLD:
            raise RuntimeError(f"{_MOST_TOLD} events are waiting to be numbered")
        self._arrived.append(event)

    @property
    def shows_progress(self) -> bool:
        """Whether a sink shows how far an epoch is."""
        return any("progress" in worker.callbacks for worker in self._workers)

    def progress(self, host: str, epoch: int, done: int, steps: int) -> None:
        """Tell the sinks that show progress how far an epoch is; see `ShowsProgress`."""
        self._call("progress", host, epoch, done, steps)

    def checkpoint(self, epoch: int, began: float, ended: float) -> None:
        """Tell the sinks that show checkpoints that the run was saved; see `ShowsCheckpoints`."""
        self._call("checkpoint", epoch, began, ended)

    def flush(self) -> None:
        """Wait until every sink has taken everything, and made it durable or visible, or is given up."""
        self._take(hand_on=True)
        # A sink that fails here is an event for the others, and so is what one adds; one that answers its own events is
        # not followed for ever.
        for _ in range(_ROUNDS):
            before = self._next_number
            for worker in self._workers:
                worker.want_flush()
            for worker in self._workers:
                worker.wait()
            self._report(disabled=True)
            self._take(hand_on=True)
            if self._next_number == before:
                break
        self._settle()

    def close(self) -> None:
        """End the run in every sink; does nothing unless the hub is open."""
        if not self._open:
            return
        try:
            self.flush()
            self._report(disabled=False)
        finally:
            self._open = False
            for worker in self._workers:  # all at once: each may take up to its deadline
                worker.want_close()
            for worker in self._workers:
                worker.close()

    @property
    def next_number(self) -> int:
        """Number of the next event that is delivered."""
        return self._next_number

    def counts(self) -> dict[str, SinkCounts]:
        """Return what became of every sink's events so far, by the sink's name."""
        return {worker.name: worker.counts for worker in self._workers}

    def restore_counts(self, counts: Mapping[str, Any]) -> None:
        """Go on counting where a run was saved: `counts` are those of `counts`, as plain data, by the sink's name."""
        for worker in self._workers:
            if worker.name in counts:
                worker.counts = structure(SinkCounts, counts[worker.name])

    @property
    def telemetry(self) -> TelemetryState:
        """What became of the run's events so far, before any sink."""
        return self._filter.state

    def volume(self) -> Volume:
        """Say how much has been told of the run."""
        return self._filter.volume()

    def restore_telemetry(self, saved: Mapping[str, Any]) -> None:
        """Go on where a run was saved: `saved` is `telemetry` as plain data; empty if nothing is known of it.

        Raises:
            EsperError: E201, E202 if it is something else.
        """
        self._filter.state = structure(TelemetryState, dict(saved))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, *events: Event, hand_on: bool = False) -> None:
        """Number events and put them into the batch, which goes on its way if it is time.

        A signal handler may emit in the middle of this. Its event waits for its turn, so that every sink sees the order
        of the numbers.
        """
        if not self._workers:
            return
        self._arrived.extend(events)
        if self._taking:
            return
        self._taking = True
        try:
            while self._arrived or (hand_on and self._batch):
                if not self._arrived:
                    self._hand_on()
                    continue
                for event in self._filter.passed(self._arrived.popleft()):
                    self._batch.append(self._stamped(event))
                    rare = event.level is Level.MINIMAL or event.kind is EventKind.EPOCH_COMPLETED
                    if rare or len(self._batch) >= self._longest:
                        self._hand_on()
        finally:
            self._taking = False

    def _stamped(self, event: Event) -> Event:
        """Return the event with everything that the hub fills in; `attrs.evolve` would take three times as long."""
        number, data = self._next_number, event.data
        self._next_number += 1
        return Event(
            kind=event.kind,
            host=event.host,
            epoch=event.epoch,
            round=event.round,
            data=data,
            sequence=number,
            time=self._clock(),
            monotonic=time.monotonic() - self._began,
            run=self._run,
            slot=slot if type(slot := data.get("slot")) is str else None,
            seed_id=seed_id if type(seed_id := data.get("seed_id")) is str else None,
        )

    def _call(self, place: str, *what: Any) -> None:
        for worker in self._workers:
            worker.call(place, *what)
        self._settle()

    def _hand_on(self) -> None:
        if not self._batch:
            return
        batch, self._batch = tuple(self._batch), []
        for worker in self._workers:
            worker.put(batch)
        self._report(disabled=True)
        self._settle()

    def _settle(self) -> None:
        """Wait for the sinks, if that is wanted; if strict, raise what one raised."""
        for worker in self._workers if self._in_step else ():
            worker.wait()
            if self._strict and worker.raised is not None:
                place, error = worker.raised
                worker.raised = None
                raise sink_failed(worker.name, place, error) from error

    def _report(self, *, disabled: bool) -> None:
        """Report failing sinks, each once: those that are disabled, or all that ever failed."""
        found = []
        for worker in self._workers:
            if worker.reported or not (worker.counts.disabled if disabled else worker.counts.errors):
                continue
            worker.reported = True
            data = {"plugin": worker.name, "place": "sink", "error": worker.counts.last_error}
            found.append(Event(kind=EventKind.PLUGIN_FAILED, data=data | {"disabled": worker.counts.disabled}))
        self._take(*found)
