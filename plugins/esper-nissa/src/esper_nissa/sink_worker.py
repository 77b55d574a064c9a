"""One sink with a thread and a bounded queue: what it raises is counted, and training does not wait for it."""

import threading
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

import attrs
from attrs import frozen

from esper_core.leyline.deadline import within
from esper_core.leyline.errors import EsperError, summary
from esper_core.leyline.events import Event, EventKind, TellsRun
from esper_core.leyline.protocols import ShowsProgress, Sink
from esper_nissa.copies import copied, own_copies
from esper_nissa.queue_limits import QueueLimits, WhenFull

#: A sink that has raised this often is not called any more.
MAX_ERRORS = 3

#: What may be dropped when a sink does not keep up. Everything else says what became of the network, or of the run.
DROPPABLE = frozenset({EventKind.REWARD_COMPUTED, EventKind.GATES_EVALUATED, EventKind.DIAGNOSED})


@frozen(kw_only=True)
class SinkCounts:
    """What became of a sink's events.

    Attributes:
        delivered: events that the sink took without raising.
        dropped: events of a batch at which it raised, those that came after it was disabled, and those for which there
            was no room.
        errors: how often it raised.
        disabled: it raised too often, or hangs, and is not called any more.
        last_error: what it raised last, and where.
    """

    delivered: int = 0
    dropped: int = 0
    errors: int = 0
    disabled: bool = False
    last_error: str | None = None


class SinkWorker:
    """Calls one sink, always in the same thread: `open`, `emit`, `flush`, `progress` and `close`.

    All methods are called by the hub, in one thread.

    Args:
        name: the sink's name in the run.
        sink: the sink.
        limits: of its queue.

    Attributes:
        counts: what became of its events so far.
        reported: its failure has been told to the others.
        raised: where it raised last, and what.
        shows_progress: it shows how far an epoch is, and has not failed in that.
    """

    def __init__(self, name: str, sink: Sink, limits: QueueLimits) -> None:
        self.name = name
        self.counts = SinkCounts()
        self.reported = False
        self.raised: tuple[str, BaseException] | None = None
        self._sink = sink
        self._limits = limits
        self._changed = threading.Condition()
        self._batches: deque[tuple[Event, ...]] = deque()
        self._size = 0
        self._flush_wanted = False
        self._progress: tuple[str, int, int, int] | None = None
        self.shows_progress = isinstance(sink, ShowsProgress)
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

    def progress(self, host: str, epoch: int, done: int, steps: int) -> None:
        """Have the sink show how far an epoch is, if it shows that. Only the newest counts."""
        if self.shows_progress:
            with self._changed:
                self._progress = (host, epoch, done, steps)
                self._changed.notify_all()

    def wait(self) -> None:
        """Wait until everything has been given to the sink; one that hangs is disabled."""
        with self._changed:
            self._wait_while(self._busy)

    def close(self) -> None:
        """Have the sink closed after everything before, even a disabled one: it may hold a file or a terminal."""
        with self._changed:
            if self._thread is None:
                return
            self._closing = True
            self._changed.notify_all()
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
        return bool(self._batches or self._flush_wanted or self._progress) or self._began is not None

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
        self._size, self._flush_wanted, self._progress = 0, False, None

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
                while not (self._batches or self._flush_wanted or self._progress or self._closing):
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
            return "emit", lambda: self._sink.emit(own_copies(batch)), len(batch)
        if self._flush_wanted:
            self._flush_wanted = False
            return "flush", self._sink.flush, 0
        if self._closing:
            return "close", self._sink.close, 0
        told, self._progress = self._progress, None
        assert told is not None
        return "progress", lambda: self._sink.progress(*told), 0  # type: ignore[attr-defined]

    def _count(self, place: str, size: int, error: BaseException | None) -> None:
        self._size -= size
        if error is None:
            self.counts = attrs.evolve(self.counts, delivered=self.counts.delivered + size)
            return
        self.raised = (place, error)
        if place == "progress":  # it is no event: it is not shown any more, and nothing is lost
            self.shows_progress = False
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
