"""A run's event log, followed while it grows: each event is told once, and told again only where a run went back."""

import os
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from attrs import frozen

from esper_runs.event_log import parse_event
from esper_runs.reading import open_regular

#: How much of a log is read at once unless said otherwise, in bytes: some tens of milliseconds.
CHUNK = 1 << 20

#: A line that is longer is damaged: nothing that Esper writes comes near.
_LONGEST_LINE = 1 << 26

#: So many bytes in front of the place that was reached are compared, to notice a log that was rewritten.
_ANCHOR = 512


@frozen(kw_only=True)
class LogNews:
    """What has come to a log since it was last read.

    Attributes:
        events: plain events, oldest first.
        restarted: whatever was told before is to be forgotten: the log was cut, replaced, or went back to an earlier
            number, and is told from its beginning.
        left: bytes that have not been read yet.
        missing: there is no log.
    """

    events: tuple[Mapping[str, Any], ...] = ()
    restarted: bool = False
    left: int = 0
    missing: bool = False


class EventFollower:
    """Reads a log part by part, in the order and with the meaning of `read_event_log`.

    A last line that is incomplete waits for its rest. A log that a resumed run has cut is read from its beginning, and
    so is one that another file has taken the place of. Events whose numbers are given out again are told no more.
    It holds the last incomplete line and a few numbers, however long the log is.

    Args:
        path: the log.
        inside: a directory that it must not lead out of.

    Attributes:
        count: how many events were told.
        damaged: how many lines were no events.
        torn: the part that was read ends in the middle of a line.
    """

    def __init__(self, path: Path, *, inside: Path | None = None) -> None:
        self._path, self._inside = path, inside
        self._file: tuple[int, int] | None = None
        # Where a number was given out again, and from which number on: earlier events with it do not count.
        self._backs: deque[tuple[int, int]] = deque()
        self._begin()

    def _begin(self) -> None:
        self._at, self._anchor, self._rest = 0, b"", b""
        self._skipping = self._silent = self._unended = False
        self._newest = -1
        self._ahead = deque(self._backs)
        self.count = self.damaged = 0
        self.torn = False

    @property
    def lost(self) -> int:
        """How many numbers below that of the last event no event has."""
        return self._newest + 1 - self.count

    def skip(self) -> None:
        """Begin near the end of the log, with the last events: for a first look at a long one.

        Raises:
            OSError: if there is a log that cannot be read.
        """
        with open_regular(self._path, inside=self._inside) as file:
            found = os.fstat(file.fileno())
            self._file = found.st_dev, found.st_ino
            self._at = max(0, found.st_size - CHUNK)
            # It is the middle of a line.
            self._skipping = self._at > 0

    def read(self, most: int = CHUNK) -> LogNews:
        """Return what has come, out of at most `most` further bytes.

        Raises:
            OSError: if there is a log that cannot be read.
        """
        try:
            file = open_regular(self._path, inside=self._inside)
        except FileNotFoundError:
            return LogNews(missing=True)
        with file:
            restarted = self._is_another(file)
            size = os.fstat(file.fileno()).st_size
            if self._silent and self._at >= size:
                # Everything that counts is known now; it is told from the beginning.
                self._begin()
                restarted = True
            file.seek(self._at)
            data = file.read(most)
            if self._unended and data[:1] not in (b"", b"\n"):
                # What was taken for a whole line was none: without it the rest means something else, and its number
                # was not given out again.
                self._backs.clear()
                self._begin()
                restarted = True
                file.seek(0)
                data = file.read(most)
        start = self._at - len(self._rest)
        self._at += len(data)
        self._anchor = (self._anchor + data)[-_ANCHOR:]
        events = self._events(start, data, whole=self._at >= size)
        # One more call is needed to tell what was only looked at.
        left = max(size - self._at, 1 if self._silent else 0)
        return LogNews(events=tuple(events), restarted=restarted, left=left)

    def _is_another(self, file: BinaryIO) -> bool:
        """Whether the log is not the one that was read so far; then it is read from its beginning."""
        found = os.fstat(file.fileno())
        same = self._file in (None, (found.st_dev, found.st_ino)) and found.st_size >= self._at
        if same and self._anchor:
            file.seek(self._at - len(self._anchor))
            same = file.read(len(self._anchor)) == self._anchor
        self._file = found.st_dev, found.st_ino
        if not same:
            self._backs.clear()
            self._begin()
        return not same

    def _events(self, start: int, data: bytes, whole: bool) -> list[Mapping[str, Any]]:
        """The events in what was read, which continues an incomplete line that began at `start`."""
        self._unended = self._unended and not data
        *lines, rest = (self._rest + data).split(b"\n")
        told: list[Mapping[str, Any]] = []
        for line in lines:
            if self._skipping:
                self._skipping = False
            elif line:
                self._take(line, start, told)
            start += len(line) + 1
        if len(rest) > _LONGEST_LINE:
            self.damaged += not self._skipping
            self._skipping, rest = True, b""
        self._rest = rest
        self.torn = bool(rest)
        if rest and data and whole and rest.endswith(b"}"):
            # An event without the end of its line is one all the same, if nothing comes behind it.
            before = self.damaged
            if self._take(rest, start, told):
                self._rest, self.torn, self._unended = b"", False, True
            self.damaged = before
        return told

    def _take(self, line: bytes, start: int, told: list[Mapping[str, Any]]) -> bool:
        event = parse_event(line.decode(errors="replace"))
        if event is None:
            self.damaged += 1
            return False
        number = event["sequence"]
        while self._ahead and self._ahead[0][0] <= start:
            self._ahead.popleft()
        if self._ahead and number >= self._ahead[0][1]:
            return True
        if number <= self._newest:
            self._go_back(start, number)
        self._newest = number
        self.count += 1
        if not self._silent:
            told.append(event)
        return True

    def _go_back(self, start: int, number: int) -> None:
        """Note that a number is given out again: what was told of it and of later ones must be taken back."""
        while self._backs and self._backs[-1][1] >= number:
            self._backs.pop()
        self._backs.append((start, number))
        self._silent = True
