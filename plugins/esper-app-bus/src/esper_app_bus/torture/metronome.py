"""What the machine withholds from processes: how late the timer of one is that only sleeps."""

import os
import time
from collections.abc import Iterable, Sequence

from esper_app_bus.torture.notes import Note, Notebook

#: It sleeps for so long, and notes when it wakes later by more than that, in seconds.
BEAT_SECONDS, NOTED_SECONDS = 0.02, 0.002

Interval = tuple[float, float]


def keep_time(notebook: Notebook, torturer: int) -> None:
    """Sleep again and again, and note how late it was, until killed."""
    while os.getppid() == torturer:
        due = time.monotonic() + BEAT_SECONDS
        time.sleep(BEAT_SECONDS)
        late = time.monotonic() - due
        if late > NOTED_SECONDS:
            notebook.note("late", [{"seconds": late}])


def withheld(notes: Iterable[Note]) -> list[Interval]:
    """Return when a process that wanted to run did not."""
    return [(it.at - it.seconds, it.at) for it in notes if it.what == "late"]


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """Return intervals that do not overlap and cover the same time, in order."""
    found: list[Interval] = []
    for begin, end in sorted(intervals):
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((begin, end))
    return found


def covered(intervals: Sequence[Interval], begin: float, end: float) -> float:
    """Return how many seconds between two moments are covered by intervals that do not overlap."""
    return sum(max(0.0, min(its_end, end) - max(its_begin, begin)) for its_begin, its_end in intervals)
