"""What one run owns: its hub, its observers, and the wish to stop. Nothing of it is global."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import attrs
from attrs import define, field

from esper_core.leyline.actions import Transition
from esper_core.leyline.errors import EsperError
from esper_core.leyline.events import Event, EventKind
from esper_core.leyline.evidence import Evidence
from esper_core.leyline.records import plain
from esper_core.plugins.observers import Observers
from esper_core.plugins.plugin_set import PluginSet
from esper_core.plugins.records import Origin
from esper_nissa.event_kinds import kind_of, registered_events, with_kinds
from esper_nissa.hub import Hub


@define
class RunContext:
    """The surroundings of one run (a `Services`). Two runs in one process do not see each other.

    Attributes:
        hub: hands events to the sinks.
        plugins: the run's plugins.
        used: names of the plugins that provide a used component.
        listeners: are called with every event before the hub, whatever its telemetry level; they must not raise, nor
            take long.
        stop_requested: the run ends after the present epoch.
    """

    hub: Hub
    plugins: PluginSet
    used: frozenset[str]
    listeners: Sequence[Callable[[Event], None]] = ()
    stop_requested: bool = False
    _observers: Observers = field(init=False)
    #: Round and epoch of the newest event of a host; an observer that is told of a host is told of these.
    _place: tuple[int, int | None] = field(init=False, default=(0, None))
    _resuming: bool = field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        observers = self.plugins.observers(self.used, self._observer_failed)
        self._observers = attrs.evolve(observers, take=self._told)
        for registered in registered_events(self.plugins.registry):
            self.hub.levels[kind_of(registered)] = registered.spec.level  # type: ignore[attr-defined]

    def emit(self, event: Event) -> None:
        """Hand an event to the sinks."""
        if event.host:
            self._place = event.round, event.epoch
        for listener in self.listeners:
            listener(event)
        self.hub.emit(event)

    def epoch_end(self, host: str, evidence: Evidence) -> None:
        """Tell the observers that a host has finished an epoch."""
        self._observers.epoch_end(host, evidence)

    def seed_transition(self, host: str, transition: Transition) -> None:
        """Tell the observers that a seed has changed its stage."""
        self._observers.seed_transition(host, transition)

    def should_stop(self) -> bool:
        """Say whether somebody asked the run to end after this epoch."""
        return self.stop_requested

    def run_start(self, manifest: Mapping[str, Any]) -> None:
        """Open the sinks and tell everybody that the run begins."""
        self.hub.open(manifest)
        self.emit(Event(kind=EventKind.RUN_STARTED, data=manifest))
        self._observers.run_start(manifest)

    def run_resume(self, manifest: Mapping[str, Any]) -> None:
        """Open the sinks for a run that goes on, and tell the observers."""
        self.hub.open(manifest)
        # What they told when the run began is in the log.
        self._resuming = True
        self._observers.run_start(manifest)
        self._resuming = False

    def run_finish(self, result: Mapping[str, Any]) -> None:
        """Tell everybody that the run is over, and close the sinks. What an observer raises is reported, not raised."""
        self.emit(Event(kind=EventKind.RUN_FINISHED, data=result))
        try:
            self._observers.run_finish(result)
        except* EsperError as group:
            for error in _leaves(group):
                self._observer_failed(error)
        self.hub.close()

    def record(self) -> dict[str, Any]:
        """Return what became of events and observers, for the result: what was lost is told."""
        return {
            "telemetry": plain(self.hub.volume()),
            "sinks": plain(self.hub.counts()),
            "observer_failures": dict(self._observers.failures),
        }

    @contextmanager
    def stopping_on_interrupt(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM end the run after the present epoch; a second one ends it at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.stop_requested:
            raise KeyboardInterrupt
        self.stop_requested = True
        message = "stopping at the end of this epoch; press Ctrl-C again to stop at once"
        self.emit(Event(kind=EventKind.NOTICE, data={"message": message}))

    def _told(self, origin: Origin, host: str, told: Any) -> None:
        """Make events of what an observer has returned. Raises EsperError E530 if that is none."""
        number, epoch = self._place if host else (self._place[0], None)
        for kind, data in with_kinds(self.plugins.registry, origin, told):
            if not self._resuming:
                self.emit(Event(kind=kind, host=host, epoch=epoch, round=number, data=data))

    def _observer_failed(self, error: EsperError) -> None:
        data = {"plugin": error.where or "", "place": "observer", "error": str(error)}
        self.emit(Event(kind=EventKind.PLUGIN_FAILED, data=data))


def _leaves(group: BaseExceptionGroup[EsperError]) -> Iterator[EsperError]:
    for error in group.exceptions:
        if isinstance(error, EsperError):
            yield error
        elif isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
