"""Write an event log. The file contains only complete lines, even after errors."""

import os
from collections.abc import Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path

from esper_core.leyline.events import Event
from esper_runs.event_lines import event_line
from esper_runs.log_file import is_event_log, open_log, own_tail


class LogWriter:
    """An event log, open for appending one strict JSON object per event.

    A batch is written with one unbuffered call, so events are visible to readers at once. If a batch cannot be written
    completely, none of it remains in the file.

    Args:
        path: the file; an existing log is continued, and an incomplete last line that a crash left is ended.
        inside: the run's directory, if the file is in it: then no link may lead out of it.

    Raises:
        OSError: if the file cannot be written, or is no log of events.
    """

    def __init__(self, path: Path, *, inside: Path | None) -> None:
        self._file: FileIO = open_log(path, inside=inside)
        try:
            if not is_event_log(self._file):
                raise OSError("it holds something else than events, to which none are appended")
        except OSError:
            self._file.close()
            raise

    def forget_from(self, number: int, run: str) -> None:
        """Remove the events that a resumed run will repeat, and an incomplete line at the end, if they are its own.

        Otherwise everything stays: who reads the log lets events with earlier numbers take back what came before.

        Raises:
            OSError: if the file is too large to be looked at.
        """
        if (kept := own_tail(self._file, number, run)) is not None:
            self._file.truncate(kept)

    def end_torn_line(self) -> None:
        """End an incomplete last line that a crash may have left, so new events start on a new line."""
        if self._file.seek(0, os.SEEK_END) > 0:
            self._file.seek(-1, os.SEEK_END)
            if self._file.read(1) != b"\n":
                self._append(b"\n")

    def write(self, events: Sequence[Event]) -> None:
        """Append all of the events, or none.

        Raises:
            OSError: if the disk is full or the file is gone.
            TypeError: if an event cannot be converted to plain data.
        """
        self._append(b"".join(map(event_line, events)))

    def sync(self) -> None:
        """Wait until everything is on the disk. Raises OSError."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()

    def _append(self, data: bytes) -> None:
        start = self._file.seek(0, os.SEEK_END)
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            with suppress(OSError):
                # What was written of the batch, and no more: somebody else may have appended meanwhile.
                if self._file.seek(0, os.SEEK_END) == start + len(data) - len(rest):
                    self._file.truncate(start)
            raise
