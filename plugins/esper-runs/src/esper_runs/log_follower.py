"""A whole event log that is read again and again while a run writes it: each time only what is new."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from esper_runs.event_follower import EventFollower
from esper_runs.event_log import EventLog
from esper_runs.reading import LARGEST, NotAFileError


class LogFollower:
    """Reads one file as `read_event_log` does, and keeps its events.

    A file that has been replaced or cut, as by a run that was resumed, is read from its beginning.
    """

    def __init__(self) -> None:
        self._follower: EventFollower | None = None
        self._events: list[Mapping[str, Any]] = []

    def read(self, path: Path) -> EventLog | None:
        """Return the log as it is now; None if there is no file. No link may lead to it from its directory.

        Raises:
            OSError: if there is a file that cannot be read.
        """
        follower = self._follower = self._follower or EventFollower(path, inside=path.parent)
        while True:
            news = follower.read()
            if news.missing:
                self._follower, self._events = None, []
                return None
            if news.restarted:
                self._events.clear()
            self._events += news.events
            if (size := path.lstat().st_size) > LARGEST:
                raise NotAFileError(path, f"it has {size:,} bytes, at most {LARGEST:,} are read")
            if not news.left:
                events = tuple(self._events)
                return EventLog(events=events, torn=follower.torn, damaged=follower.damaged, lost=follower.lost)
