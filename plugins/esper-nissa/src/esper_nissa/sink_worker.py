"""One sink with a thread and a bounded queue: what it raises is counted, and training does not wait for it."""

import threading
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

import attrs

from esper_core.leyline.deadline import within
from esper_core.leyline.errors import EsperError, summary
from esper_core.leyline.events import Event, EventKind, TellsRun
from esper_core.leyline.protocols import Sink
from esper_nissa.callbacks import CALLBACKS, NEWEST
from esper_nissa.copies import ReadsOnly, copied, own_copies
from esper_nissa.queue_limits import QueueLimits, WhenFull
from esper_nissa.sink_counts import SinkCounts

#: A sink that has raised this often is not called any more.
MAX_ERRORS = 3

#: What may be dropped when a sink does not keep up. Everything else says what became of the network, or of the run.
DROPPABLE = frozenset({EventKind.REWARD_COMPUTED, EventKind.GATES_EVALUATED, EventKind.DIAGNOSED})


class SinkWorker:
    """Calls one sink, always in the same thread: `open`, `emit`, `flush`, `close`, and what is in `CALLBACKS`.

    All methods are called by the hub, in one thread.

    Args:
        name: the sink's name in the run.
        sink: the sink.
        limits: of its queue.

    Attributes:
        counts: what became of its events so far.
        reported: its failure has been told to the others.
        raised: where it raised last, and what.
        callbacks: the methods for what is no event that it has, and in which it has not failed.
    """

    def __init__(self, name: str, sink: Sink, limits: QueueLimits) -> None:
        self.name = name
        self.counts = SinkCounts()
        self.reported = False
        self.raised: tuple[str, BaseException] | None = None
        self._sink = sink
        self._copies = not (isinstance(sink, ReadsOnly) and sink.reads_only)
        self._limits = limits
        self._changed = threading.Condition()
        self._batches: deque[tuple[Event, ...]] = deque()
        self._size = 0
        self._flush_wanted = False
        self._calls: deque[tuple[str, tuple[Any, ...]]] = deque()
        self.callbacks = {place for place, protocol in CALLBACKS.items() if isinstance(sink, protocol)}
        self._place = ""
        self._began: float | None = None
        self._closing = self._closed = self._abandoned = False
        self._thread: threading.Thread | None = None

    def connect(self, tell: Callable[[Event], None]) -> None:
        """Show a sink that adds events to the run where to."""
        if isinstance(self._sink, TellsRun):
            self._sink.connect(tell)

    def open(self, manifest: Mapping[str, Any]) -> None:
        """Begin the run in the sink, in its thread. Raises whatever the sink raises, and TimeoutError."""
        opened: list[BaseException | None] = []

        def work() -> None:
            try:
                self._sink.open(copied(manifest))
                error: BaseException | None = None
            except BaseException as raised:  # raised again where it was opened
                error = raised
            with self._changed:
                opened.append(error)
                self._began, self._closed = None, error is not None
                self._changed.notify_all()
            if error is None:
                self._work()

        self._place, self._began = "open", monotonic()
        self._thread = threading.Thread(target=work, name=f"esper-sink-{self.name}", daemon=True)
        self._thread.start()
        with self._changed:
            if not self._changed.wait_for(lambda: bool(opened), self._limits.deadline):
                self._abandoned = True
                raise TimeoutError(_overdue(self._limits.deadline))
        if opened[0] is not None:
            raise opened[0]

    def put(self, batch: tuple[Event, ...]) -> None:
        """Queue events. Where there is no room for them, the policy decides what happens.

        Raises:
            EsperError: E504 if the policy is `fail` and there is no room.
        """
        with self._changed:
            if self.counts.disabled:
                self._lost(len(batch))
                return
            if self._size + len(batch) > self._limits.capacity:
                self._make_room(len(batch))
            if self.counts.disabled:
                self._lost(len(batch))
                return
            self._batches.append(batch)
            self._size += len(batch)
            self._changed.notify_all()

    def want_flush(self) -> None:
        """Have the sink flushed after what it has been given so far, without waiting for it."""
        with self._changed:
            self._flush_wanted = True
            self._changed.notify_all()

    def call(self, place: str, *what: Any) -> None:
        """Call a method of `CALLBACKS` behind what the sink has been given so far, if it has the method."""
        with self._changed:
            if place in self.callbacks:
                if place in NEWEST:
                    self._forget_calls(place)
                self._calls.append((place, what))
                self._changed.notify_all()

    def wait(self) -> None:
        """Wait until everything has been given to the sink; one that hangs is disabled."""
        with self._changed:
            self._wait_while(self._busy)

    def want_close(self) -> None:
        """Have the sink closed after everything before, without waiting for it."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def close(self) -> None:
        """Have the sink closed after everything before, even a disabled one: it may hold a file or a terminal."""
        if self._thread is None:
            return
        self.want_close()
        with self._changed:
            self._wait_while(lambda: not self._closed)
            hanging = self._abandoned and self._place not in ("open", "close")
        if hanging:
            self._close_elsewhere()

    def _close_elsewhere(self) -> None:
        """Close a sink whose own thread does not come back."""
        try:
            within(self._limits.deadline, self._sink.close)
        except BaseException as error:  # as in its thread
            self._failed("close", summary(error), lost=0, disabled=True)

    def _busy(self) -> bool:
        return bool(self._batches or self._flush_wanted or self._calls) or self._began is not None

    def _make_room(self, wanted: int) -> None:
        """Act on a full queue; called with the lock."""
        limits = self._limits
        if limits.when_full is WhenFull.FAIL:
            what = f'sink "{self.name}" does not keep up: {self._size:,} events wait for it'
            fix = "set sinks.when_full to block or drop-oldest, or sinks.capacity higher"
            raise EsperError("E504", what, fix=fix)
        if limits.when_full is WhenFull.DROP_OLDEST:
            self._drop(self._size + wanted - limits.capacity)
        self._wait_while(lambda: bool(self._batches) and self._size + wanted > limits.capacity)

    def _drop(self, count: int) -> None:
        kept: deque[tuple[Event, ...]] = deque()
        for batch in self._batches:
            stays = []
            for event in batch:
                if count > 0 and event.kind in DROPPABLE:
                    count -= 1
                    self._size -= 1
                    self._lost(1)
                else:
                    stays.append(event)
            if stays:
                kept.append(tuple(stays))
        self._batches = kept

    def _wait_while(self, busy: Callable[[], bool]) -> None:
        """Wait with the lock; give the sink up as soon as one call has taken too long."""
        while busy() and not self._abandoned:
            began = self._began
            left = self._limits.deadline if began is None else began + self._limits.deadline - monotonic()
            if left <= 0:
                self._abandon()
            else:
                self._changed.wait(left)

    def _abandon(self) -> None:
        """Leave a thread behind that does not come back."""
        overdue = _overdue(self._limits.deadline)
        warnings.warn(f'sink "{self.name}" hangs in {self._place}(): {overdue}; the run goes on', stacklevel=2)
        self._abandoned = True
        self._failed(self._place, f"TimeoutError: {overdue}", lost=self._size, disabled=True)
        self._forget()

    def _forget(self) -> None:
        self._batches.clear()
        self._calls.clear()
        self._size, self._flush_wanted = 0, False

    def _forget_calls(self, place: str) -> None:
        self._calls = deque(it for it in self._calls if it[0] != place)

    def _failed(self, place: str, why: str, *, lost: int, disabled: bool) -> None:
        counts = self.counts
        self.counts = attrs.evolve(
            counts,
            dropped=counts.dropped + lost,
            errors=counts.errors + 1,
            disabled=disabled,
            last_error=f"{place}: {why}",
        )

    def _lost(self, count: int) -> None:
        self.counts = attrs.evolve(self.counts, dropped=self.counts.dropped + count)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._batches or self._flush_wanted or self._calls or self._closing):
                    self._changed.wait()
                place, call, size = self._next()
                self._place, self._began = place, monotonic()
            error = None
            try:
                call()
            except BaseException as raised:  # whatever a third party's sink raises is no reason to end a run
                error = raised
            with self._changed:
                if self._abandoned:
                    return
                self._began = None
                self._count(place, size, error)
                if place == "close":
                    self._closed = True
                self._changed.notify_all()
                if self._closed:
                    return

    def _next(self) -> tuple[str, Callable[[], None], int]:
        """Return what comes next, by name, and how many events that delivers; called with the lock."""
        if self._batches:
            batch = self._batches.popleft()
            return "emit", lambda: self._sink.emit(own_copies(batch) if self._copies else batch), len(batch)
        if self._flush_wanted:
            self._flush_wanted = False
            return "flush", self._sink.flush, 0
        if self._calls:
            place, what = self._calls.popleft()
            return place, lambda: getattr(self._sink, place)(*what), 0
        return "close", self._sink.close, 0

    def _count(self, place: str, size: int, error: BaseException | None) -> None:
        self._size -= size
        if error is None:
            self.counts = attrs.evolve(self.counts, delivered=self.counts.delivered + size)
            return
        self.raised = (place, error)
        if place in CALLBACKS:  # it is no event: it is not shown any more, and nothing is lost
            self.callbacks.discard(place)
            self._forget_calls(place)
            return
        disabled = self.counts.disabled or self.counts.errors + 1 >= MAX_ERRORS
        self._failed(place, summary(error), lost=size + (self._size if disabled else 0), disabled=disabled)
        if disabled:
            self._forget()


def _overdue(seconds: float) -> str:
    return f"it did not return within {seconds:g} seconds"


def sink_failed(name: str, place: str, error: BaseException) -> EsperError:
    """Say that a sink raised, where that is an error."""
    what = f'sink "{name}" failed in {place}()'
    return EsperError("E504", what, why=summary(error), fix="run without it: sinks.names in the configuration")
