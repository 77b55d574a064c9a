"""What browsers are told while they look: that something has changed, and no more. They fetch it when they can."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from esper_app_dashboard.board import Board, Version
from esper_app_dashboard.reader import Reader

#: Files are looked at so often while somebody looks at them, in seconds.
INTERVAL = 1.0

#: After so many seconds of silence a comment is sent, so that proxies keep the connection.
_SILENCE = 15.0


class Streams:
    """Looks at the files for all browsers, and wakes them. No browser has a queue: each is told of the newest state.

    Args:
        board: what is shown.
        reader: the thread that reads it.
        interval: seconds between two looks.
    """

    def __init__(self, board: Board, reader: Reader, interval: float = INTERVAL) -> None:
        self._board = board
        self._reader = reader
        self._interval = interval
        self._wanted: Counter[str] = Counter()
        self._open = 0
        self._version = Version("", {})
        self._changed = asyncio.Event()
        self._somebody = asyncio.Event()
        self._closing = False

    @property
    def open(self) -> int:
        """How many browsers are connected."""
        return self._open

    async def watch(self) -> None:
        """Look at the files for as long as the server runs; while nobody is connected, not at all."""
        while True:
            await self._somebody.wait()
            wanted = [*self._wanted]
            try:
                version = await self._reader.call(partial(self._board.version, wanted))
            except (
                Exception
            ):  # A request for the list reports the error. Raised here, it would stop all updates for good.
                version = self._version
            if version != self._version:
                self._version = version
                self._wake()
            await asyncio.sleep(self._interval)

    async def messages(self, runs: Sequence[str]) -> AsyncIterator[bytes]:
        """Yield events of an event stream: ``runs`` if the list has changed, ``run`` with its id, until the end."""
        told = Version("", {})
        with self._connected(runs):
            # The first look is this browser's own: what it is told is newer than its question.
            now = await self._reader.call(partial(self._board.version, runs))
            yield b"retry: 2000\n\n"
            while not self._closing:
                changed = self._changed
                for message in _differences(told, now, runs):
                    yield message
                told = now
                if not changed.is_set():
                    try:
                        async with asyncio.timeout(_SILENCE):
                            await changed.wait()
                    except TimeoutError:
                        yield b": still here\n\n"
                        continue
                now = self._version

    def close(self) -> None:
        """Let every stream end."""
        self._closing = True
        self._wake()

    def _wake(self) -> None:
        before, self._changed = self._changed, asyncio.Event()
        before.set()

    @contextmanager
    def _connected(self, runs: Sequence[str]) -> Iterator[None]:
        self._open += 1
        self._wanted.update(runs)
        self._somebody.set()
        try:
            yield
        finally:
            self._open -= 1
            self._wanted.subtract(runs)
            self._wanted += Counter()  # drops what nobody wants any more
            if not self._open:
                self._somebody.clear()


def _differences(told: Version, now: Version, runs: Sequence[str]) -> list[bytes]:
    found = [_event("runs", {"version": now.runs})] if told.runs != now.runs else []
    for run in runs:
        version = now.run.get(run)
        if version is not None and version != told.run.get(run):
            found.append(_event("run", {"id": run, "version": version}))
    return found


def _event(name: str, data: dict[str, str]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
