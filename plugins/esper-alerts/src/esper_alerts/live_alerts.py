"""The alerts of a run that goes on: its events are counted, looked at now and then, and alerts are evaluated."""

from collections.abc import Callable, Mapping, Sequence
from math import floor
from typing import Any

from esper_alerts.catalogue import CATALOGUE
from esper_alerts.engine import AlertChange, AlertEngine
from esper_alerts.recorder import Recorder
from esper_alerts.series import Sample, Series
from esper_core.api import Event, EventKind

#: What stands behind the name of a histogram in those of its series.
_PARTS = ("_bucket", "_sum", "_count")
_ALL = frozenset(CATALOGUE)

#: Moments that are evaluated in a row at most.
_MOST_DUE = 1000

#: Series of each metric that are kept at most.
_MOST = 5000


class LiveAlerts:
    """Evaluates alerts on the time of a run's events, which it must be shown in order.

    Values are looked at, and alerts evaluated, at every multiple of the interval, and once more when the run is over.
    At such a moment everything counts that happened before it, whenever the event arrives here.

    Args:
        manifest: the run's manifest.
        interval: seconds.
        start: seconds since 1970 when the run begins or goes on.
        clock: seconds since 1970, for how late events are.
        engine: evaluates the alerts.
    """

    def __init__(
        self,
        manifest: Mapping[str, Any],
        interval: float,
        start: float,
        clock: Callable[[], float],
        engine: AlertEngine | None = None,
    ) -> None:
        self.engine = AlertEngine() if engine is None else engine
        self.series = Series(run=str(manifest.get("name")), most=_MOST)
        self._interval = interval
        self._recorder = Recorder(self.series, manifest, clock)
        self._looked = start
        self.series.set("esper_last_event_timestamp_seconds", start)
        self._names = {name.removesuffix(end) for name in self.engine.names for end in ("", *_PARTS)} & _ALL
        self._scrape(start)

    def take(self, events: Sequence[Event]) -> list[AlertChange]:
        """Count events, and return what has changed meanwhile."""
        changes: list[AlertChange] = []
        for event in events:
            changes += self.until(event.time)
            self._recorder.take([event])
            if event.kind is EventKind.RUN_FINISHED:
                changes += self._look(max(event.time, self._looked))
        return changes

    def until(self, time: float) -> list[AlertChange]:
        """Evaluate whatever is due before a time in seconds since 1970, and return what has changed.

        Nothing that happens before this time may be shown later.
        """
        changes: list[AlertChange] = []
        # After a long sleep of the machine there is a gap, as Prometheus has one.
        self._looked = max(self._looked, time - _MOST_DUE * self._interval)
        while (due := self._interval * (floor(self._looked / self._interval) + 1)) < time:
            changes += self._look(due)
        return changes

    def recorded(self) -> list[Sample]:
        """Return what the recordings, such as shares of errors of objectives, had come to at the last look."""
        return [*self.engine.recorded(self._looked)]

    def _look(self, time: float) -> list[AlertChange]:
        self._scrape(time)
        return self.engine.evaluate(time)

    def _scrape(self, time: float) -> None:
        self.engine.scrape(self.series.samples(self._names), time)
        self._looked = time
