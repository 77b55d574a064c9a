"""An event log that is read again and again while a run writes it: each time only what is new."""

import os
from pathlib import Path
from typing import Any, BinaryIO

from esper_runs.event_log import EventLog, add_events, event_log
from esper_runs.reading import LARGEST, NotAFileError, open_regular

#: So many bytes in front of the place that was reached are compared: other ones mean that the log was cut and went on.
_COMPARED = 4096


class LogFollower:
    """Reads one file, as `read_event_log` does, without parsing a line twice.

    A file that has been replaced or cut, as by a run that was resumed, is read from its beginning. What stands behind
    the last line break is looked at again each time.
    """

    def __init__(self) -> None:
        self._restart()

    def read(self, path: Path) -> EventLog | None:
        """Return the log as it is now; None if there is no file. No link may lead to it from its directory.

        Raises:
            OSError: if there is a file that cannot be read.
        """
        try:
            with open_regular(path, inside=path.parent) as file:
                return self._read(path, file)
        except FileNotFoundError:
            self._restart()
            return None

    def _restart(self) -> None:
        self._events: list[dict[str, Any]] = []
        self._damaged = 0
        self._identity: tuple[int, int] | None = None
        self._place, self._before = 0, b""

    def _read(self, path: Path, file: BinaryIO) -> EventLog:
        found = os.fstat(file.fileno())
        if found.st_size > LARGEST:
            raise NotAFileError(path, f"it has {found.st_size:,} bytes, at most {LARGEST:,} are read")
        if not self._goes_on(file, found):
            self._restart()
        self._identity = found.st_dev, found.st_ino
        file.seek(self._place)
        new = file.read()
        lines, rest = new[: new.rfind(b"\n") + 1], new[new.rfind(b"\n") + 1 :]
        self._damaged += add_events(self._events, lines.decode(errors="replace").split("\n"))
        self._place += len(lines)
        self._before = (self._before + lines)[-_COMPARED:]
        return event_log(self._events, self._damaged, rest.decode(errors="replace"))

    def _goes_on(self, file: BinaryIO, found: os.stat_result) -> bool:
        if self._identity != (found.st_dev, found.st_ino) or found.st_size < self._place:
            return False
        file.seek(self._place - len(self._before))
        return file.read(len(self._before)) == self._before
