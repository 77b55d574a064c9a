"""Calling what may never return."""

import signal
import threading
from collections.abc import Callable
from time import monotonic
from types import FrameType
from typing import TypeVar

Result = TypeVar("Result")


class OverdueError(BaseException):
    """A call has not returned in time. No `Exception`: what hangs may be a loop that goes on after those."""


def within(seconds: float, call: Callable[[], Result]) -> Result:
    """Return what a call returns, and raise if it has not returned in time.

    In the main thread a timer interrupts it. Elsewhere, and where there is no such timer, it is made in a thread of its
    own, which is left behind.

    Args:
        seconds: it is given.
        call: takes nothing; what it raises is raised.

    Raises:
        OverdueError: if it has not returned by then.
    """
    if hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread():
        return _interrupted(seconds, call)
    return _left_behind(seconds, call)


def _interrupted(seconds: float, call: Callable[[], Result]) -> Result:
    running = True

    def overdue(number: int, frame: FrameType | None) -> None:
        if running:
            raise _overdue(seconds)

    began, handler = monotonic(), signal.signal(signal.SIGALRM, overdue)
    # It rings again: the first may have been swallowed.
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        return call()
    finally:
        running = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if handler is None else handler)
        if left:  # somebody else's timer goes on
            signal.setitimer(signal.ITIMER_REAL, max(left - (monotonic() - began), 1e-3), interval)


def _left_behind(seconds: float, call: Callable[[], Result]) -> Result:
    returned: list[Result] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            returned.append(call())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise _overdue(seconds)
    if raised:
        raise raised[0]
    return returned[0]


def _overdue(seconds: float) -> OverdueError:
    return OverdueError(f"it did not return within {seconds:g} seconds")
