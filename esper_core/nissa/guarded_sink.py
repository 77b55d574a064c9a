"""One sink behind a guard: what it raises is counted, and too much of it disables the sink. So does not to return."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from attrs import define, field, frozen

from esper_core.leyline.deadline import OverdueError, within
from esper_core.leyline.errors import EsperError, summary
from esper_core.leyline.events import Event
from esper_core.leyline.protocols import Sink

#: A sink that has raised so often is not called any more.
MAX_ERRORS = 3

#: A sink that does not return from a call within this many seconds is not called again.
DEADLINE = 30.0


@frozen(kw_only=True)
class SinkCounts:
    """What became of a sink's events.

    Attributes:
        delivered: events that the sink took without raising.
        dropped: events of a batch at which it raised, and those that came after it was disabled.
        errors: how often it raised.
        disabled: it raised too often and is not called any more.
        last_error: what it raised last, and where.
    """

    delivered: int = 0
    dropped: int = 0
    errors: int = 0
    disabled: bool = False
    last_error: str | None = None


@define(kw_only=True)
class GuardedSink:
    """A sink with its name and counts.

    Attributes:
        name: the sink's name in the run.
        sink: the sink.
        strict: raise what it raises, as E504.
        deadline: seconds that each call may take.
        counts: what became of its events so far.
        reported: its failure has been told to the others.
    """

    name: str
    sink: Sink
    strict: bool = False
    deadline: float = DEADLINE
    counts: SinkCounts = field(factory=SinkCounts)
    reported: bool = False

    def open(self, manifest: Mapping[str, Any]) -> None:
        """Begin the run in the sink. Raises whatever it raises, and OverdueError."""
        within(self.deadline, lambda: self.sink.open(_copied(manifest)))

    def emit(self, batch: Sequence[Event]) -> None:
        """Hand copies of events over, or drop them if the sink is disabled or raises."""
        if not self.counts.disabled and self._guarded("emit", lambda: self.sink.emit(_own(batch))):
            self.counts = attrs.evolve(self.counts, delivered=self.counts.delivered + len(batch))
        else:
            self.counts = attrs.evolve(self.counts, dropped=self.counts.dropped + len(batch))

    def flush(self) -> None:
        """Flush the sink unless it is disabled."""
        if not self.counts.disabled:
            self._guarded("flush", self.sink.flush)

    def close(self) -> None:
        """Close the sink, even a disabled one: it may hold a file or a terminal."""
        self._guarded("close", self.sink.close)

    def _guarded(self, place: str, call: Callable[[], None]) -> bool:
        try:
            within(self.deadline, call)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            if self.strict:
                raise sink_failed(self.name, place, error) from error
            errors = self.counts.errors + 1
            if overdue := isinstance(error, OverdueError):
                warnings.warn(f'sink "{self.name}" hangs in {place}(): {error}; the run goes on', stacklevel=2)
            self.counts = attrs.evolve(
                self.counts,
                errors=errors,
                disabled=overdue or errors >= MAX_ERRORS,
                last_error=f"{place}: {summary(error)}",
            )
            return False
        return True


def _own(batch: Sequence[Event]) -> tuple[Event, ...]:
    """A sink may do with its events what it likes: they are its own."""
    return tuple(attrs.evolve(event, data=_copied(event.data)) for event in batch)


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_copied, value)) if type(value) in (list, tuple) else [*map(_copied, value)]
    return value


def sink_failed(name: str, place: str, error: BaseException) -> EsperError:
    """Say that a sink raised, where that is an error."""
    what = f'sink "{name}" failed in {place}()'
    return EsperError("E504", what, why=summary(error), fix="run without it: sinks.names in the configuration")
