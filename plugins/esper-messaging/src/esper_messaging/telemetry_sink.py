"""The sink that puts a run's events on its bus."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from esper_core.leyline.events import Event, EventKind


class TelemetrySink:
    """Hands events on to what publishes them; it never waits, so it never keeps a run.

    Args:
        begin: is given the manifest when the run begins or goes on.
        publish: takes events in order.
        keep: writes down, on this machine, what must not be lost.
    """

    def __init__(
        self,
        begin: Callable[[Mapping[str, Any]], None],
        publish: Callable[[Sequence[Event]], None],
        keep: Callable[[], None],
    ) -> None:
        self._begin = begin
        self._publish = publish
        self._keep = keep
        self._tell: Callable[[Event], None] = lambda event: None

    def connect(self, tell: Callable[[Event], None]) -> None:
        """Learn where notices go."""
        self._tell = tell

    def notice(self, message: str) -> None:
        """Add a notice to the run; any thread may."""
        self._tell(Event(kind=EventKind.NOTICE, data={"message": message}))

    def open(self, manifest: Mapping[str, Any]) -> None:
        """Begin a run, or go on with one."""
        self._begin(manifest)

    def emit(self, events: Sequence[Event]) -> None:
        """Publish events."""
        self._publish(events)

    def flush(self) -> None:
        """Write down what must not be lost: a checkpoint follows. What is on its way to the bus is not waited for."""
        self._keep()

    def close(self) -> None:
        """Do nothing: the run's messages are closed when all of it has been said."""
