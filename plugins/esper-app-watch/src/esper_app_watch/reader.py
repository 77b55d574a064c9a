"""Runs that are read in a thread of their own, while a screen looks at what is known of them."""

from collections.abc import Callable, Sequence
from threading import Event, Lock
from time import monotonic, sleep
from typing import TypeVar

from attrs import evolve

from esper_app_watch.model import Shown, shown
from esper_app_watch.state import RunState
from esper_runs.run_directory import RunDirectory
from esper_runs.run_follower import RunFollower

#: For how long a log is read before the screen is drawn again, in seconds.
BURST = 0.4

#: How much of a log is read at once, in bytes: a question waits for no more than that.
PART = 1 << 18

#: The screen is not waited for any longer, in seconds: it may have been closed.
_PATIENCE = 0.5

T = TypeVar("T")


class Reader:
    """Follows runs, and says what is known of them to other threads.

    Args:
        directories: the runs.

    Attributes:
        states: what is known of each run.
    """

    def __init__(self, directories: Sequence[RunDirectory]) -> None:
        self._lock, self._was_drawn = Lock(), Event()
        self._reading = False
        self._followers: list[RunFollower] = []
        self._glances: dict[int, RunState] = {}
        self.states: list[RunState] = []
        for directory in directories:
            self.add(directory)

    def add(self, directory: RunDirectory) -> int:
        """Follow a run from now on, if it is not followed already; return its number."""
        known = [state.directory for state in self.states]
        path = str(directory.path)
        if path in known:
            return known.index(path)
        with self._lock:
            self._followers.append(RunFollower(directory))
            self.states.append(RunState(directory.name, path))
        return len(known)

    def shown(self, number: int) -> tuple[Shown, tuple[object, ...]]:
        """Return what is shown of a run, and what differs whenever something else is.

        Until a long log has been read, that is what its end says.
        """
        state = self.states[number]
        with self._lock:
            seen = self._glances.get(number, state) if state.left else state
            return evolve(shown(seen), reading=state.left), seen.stamp()

    def locked(self, number: int, look: Callable[[RunState], T]) -> T:
        """Look at what is known of a run while nothing is read."""
        with self._lock:
            return look(self.states[number])

    def begin(self) -> bool:
        """Say whether somebody may call `read` now: it is called by one thread at a time."""
        begun, self._reading = not self._reading, True
        return begun

    def read(self, tell: Callable[[], object], cancelled: Callable[[], bool]) -> None:
        """Read what is new in the files of all runs.

        Args:
            tell: is called, in this thread, when there is something to draw; `drawn` answers.
            cancelled: nothing is read any more.
        """
        try:
            self._glance()
            while not cancelled():
                # At first the end of a long log is drawn, before all of it is read.
                ends = monotonic() + (BURST if any(state.count for state in self.states) else 0)
                for state, follower in [*zip(self.states, self._followers, strict=True)]:
                    self._read_on(state, follower, ends)
                self._was_drawn.clear()
                tell()
                # The screen goes first: a thread that reads on at once would not let it have the lock.
                self._was_drawn.wait(_PATIENCE)
                if not any(state.left for state in self.states):
                    return
        finally:
            self._reading = False

    def drawn(self) -> None:
        """Say that the screen was drawn."""
        self._was_drawn.set()

    def _glance(self) -> None:
        for number, (state, follower) in enumerate(zip(self.states, self._followers, strict=True)):
            if not state.count and (glance := RunState.glance(follower.directory)):
                self._glances[number] = glance

    def _read_on(self, state: RunState, follower: RunFollower, ends: float) -> None:
        while True:
            with self._lock:
                state.follow(follower, PART)
            if not state.left or monotonic() > ends:
                return
            # Somebody may have pressed a key.
            sleep(0.001)
