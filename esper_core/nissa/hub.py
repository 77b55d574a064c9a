"""The hub hands events to the sinks of one run, and keeps what sinks raise away from training."""

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import attrs

from esper_core.leyline.errors import EsperError
from esper_core.leyline.events import Event, EventKind, Level
from esper_core.leyline.protocols import Sink
from esper_core.leyline.structure import structure
from esper_core.nissa.guarded_sink import DEADLINE, GuardedSink, SinkCounts, sink_failed

#: So many events wait for each other at most.
BATCH = 64


class Hub:
    """Numbers events, stamps them, and delivers them in order to every sink. Sinks run between steps.

    Events above the wanted level are left out before they are numbered: a log whose numbers have no gap is complete.
    A sink that raises three times is disabled; its counts say what was lost, and one PLUGIN_FAILED tells the others.

    Args:
        sinks: built sinks by name, in the order in which they are served.
        level: how much telemetry is wanted.
        clock: seconds since 1970.
        first: number of the first event, for a run that goes on.
        deadline: seconds that each call of a sink may take; one that takes longer is disabled.
        strict: raise what a sink raises (E504) instead of counting it.
    """

    def __init__(
        self,
        sinks: Mapping[str, Sink],
        *,
        level: Level = Level.NORMAL,
        clock: Callable[[], float] = time.time,
        strict: bool = False,
        first: int = 0,
        deadline: float = DEADLINE,
    ) -> None:
        self._sinks = [
            GuardedSink(name=name, sink=sink, strict=strict, deadline=deadline) for name, sink in sinks.items()
        ]
        self._level = level
        self._clock = clock
        self._waiting: list[Event] = []
        self._next_number = first
        self._delivering = False
        self._open = False

    def open(self, manifest: Mapping[str, Any]) -> None:
        """Begin the run in every sink. This is before training, so what a sink raises is raised.

        Raises:
            EsperError: the sink's own, or E504 around anything else. The sinks that are open by then are closed.
        """
        for index, guarded in enumerate(self._sinks):
            try:
                guarded.open(manifest)
            except BaseException as error:
                for earlier in self._sinks[:index]:
                    earlier.close()
                if isinstance(error, EsperError | KeyboardInterrupt):
                    raise
                raise sink_failed(guarded.name, "open", error) from error
        self._open = True

    def emit(self, event: Event) -> None:
        """Take an event. It reaches the sinks at the epoch's end at the latest, a rare one at once.

        Raises:
            RuntimeError: before `open` and after `close`.
            EsperError: E504, if strict.
        """
        if not self._open:
            raise RuntimeError("the hub is not open")
        self._take(event)
        if event.kind is EventKind.EPOCH_COMPLETED:
            self.flush()
        elif event.level is Level.MINIMAL or len(self._waiting) >= BATCH:
            self._deliver()

    def flush(self) -> None:
        """Deliver everything, and let every sink make it durable or visible."""
        self._deliver()
        for guarded in self._sinks:
            guarded.flush()
        self._report(disabled=True)

    def close(self) -> None:
        """End the run in every sink; does nothing unless the hub is open."""
        if not self._open:
            return
        try:
            self.flush()
            self._report(disabled=False)
            self._deliver()
        finally:
            self._open = False
            for guarded in self._sinks:
                guarded.close()

    @property
    def next_number(self) -> int:
        """Number of the next event that is delivered."""
        return self._next_number

    def counts(self) -> dict[str, SinkCounts]:
        """Return what became of every sink's events so far, by the sink's name."""
        return {guarded.name: guarded.counts for guarded in self._sinks}

    def restore_counts(self, counts: Mapping[str, Any]) -> None:
        """Go on counting where a run was saved: `counts` are those of `counts`, as plain data, by the sink's name."""
        for guarded in self._sinks:
            if guarded.name in counts:
                guarded.counts = structure(SinkCounts, counts[guarded.name])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, event: Event) -> None:
        if self._sinks and event.level <= self._level:
            self._waiting.append(attrs.evolve(event, time=self._clock()))

    def _deliver(self) -> None:
        """Deliver until nothing waits: a sink that fails adds an event for the others.

        A signal handler may emit in the middle of this. Its event waits for its turn, and numbers are given out here
        and nowhere else, so that every sink sees the same order.
        """
        if self._delivering:
            return
        self._delivering = True
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, []
                batch = tuple(
                    attrs.evolve(event, sequence=number) for number, event in enumerate(waiting, self._next_number)
                )
                self._next_number += len(batch)
                for guarded in self._sinks:
                    guarded.emit(batch)
                self._report(disabled=True)
        finally:
            self._delivering = False

    def _report(self, *, disabled: bool) -> None:
        """Report failing sinks, each once: those that are disabled, or all that ever failed."""
        for guarded in self._sinks:
            if guarded.reported or not (guarded.counts.disabled if disabled else guarded.counts.errors):
                continue
            guarded.reported = True
            data = {"plugin": guarded.name, "place": "sink", "error": guarded.counts.last_error}
            self._take(Event(kind=EventKind.PLUGIN_FAILED, data=data | {"disabled": guarded.counts.disabled}))
