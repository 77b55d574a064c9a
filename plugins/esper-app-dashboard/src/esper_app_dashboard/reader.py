"""One thread that reads files for the server, so that no request waits in the loop for a disk."""

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Reader:
    """Calls functions one after the other in a thread of its own, which ends with the process."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[asyncio.AbstractEventLoop, asyncio.Future[Any], Callable[[], Any]] | None]
        self._calls = queue.SimpleQueue()
        # A daemon: a long file does not hold up the end of the program.
        threading.Thread(target=self._work, name="esper-dashboard-reader", daemon=True).start()

    async def call(self, function: Callable[[], T]) -> T:
        """Return what a function returns, or raise what it raises."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._calls.put((loop, future, function))
        return await future

    def close(self) -> None:
        """Let the thread end after what it has been given."""
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            loop, future, function = call
            # The one who asked may have gone while this waited in the queue.
            if future.cancelled():
                continue
            try:
                value, error = function(), None
            except Exception as raised:
                value, error = None, raised
            try:
                loop.call_soon_threadsafe(_answer, future, value, error)
            except RuntimeError:  # the loop has ended
                return


def _answer(future: "asyncio.Future[Any]", value: Any, error: Exception | None) -> None:
    if future.cancelled():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)
