"""Many trials in few processes, forked from one that has imported everything.

A trial that ends its process, is killed by a signal or waits is a fault with a number, and the next one goes on.
"""

import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess

from attrs import define

#: Makes what tries the numbers of one process, each with what is wrong as its answer; "" if nothing is.
Trials = Callable[[], Callable[[int], str]]

#: A process ends after so many trials: what one does to its process meets some of the others, and not all.
_IN_ONE = 40
_FORK = multiprocessing.get_context("fork")


@define
class _Batch:
    """The numbers that one process is at, and since when it is at the first of them."""

    process: ForkProcess
    waiting: deque[int]
    since: float


def cores() -> int:
    """How many processes can run side by side on this machine."""
    return len(os.sched_getaffinity(0))


def asked(numbers: Sequence[int]) -> list[int]:
    """Return those of the numbers that ESPER_FUZZ says, ``first:count`` or ``first:count:step``; default: all."""
    first, count, step = [*map(int, os.environ.get("ESPER_FUZZ", f"0:{1 << 62}").split(":")), 1, 1][:3]
    return [number for number in numbers if number in range(first, first + count, step)]


def third(numbers: Sequence[int]) -> list[int]:
    """Return those that ESPER_FUZZ says, or every third: which third depends on the day, so all have their turn."""
    if "ESPER_FUZZ" in os.environ:
        return asked(numbers)
    begin = date.today().toordinal() % 3
    print(f"every third from {begin} on; all of them: ESPER_FUZZ=0:{1 << 20}", flush=True)
    return [*numbers][begin::3]


def faults(found: Iterator[tuple[int, str]], count: int) -> str:
    """Return what was wrong, in words; "" if nothing was. What is wrong is printed at once, and how far it is."""
    wrong = []
    for done, (number, why) in enumerate(found, 1):
        if why:
            wrong.append(f"{number}: {why}")
            print(wrong[-1], flush=True)
        if done % 500 == 0 or (done == count and count > 500):
            print(f"{done:,} of {count:,} tried, {len(wrong)} wrong", flush=True)
    return "\n\n".join(wrong)


def tried(trials: Trials, numbers: Sequence[int], *, patience: float, workers: int = 1) -> Iterator[tuple[int, str]]:
    """Yield every number with what is wrong with it, "" if nothing is.

    Args:
        trials: called in each new process.
        numbers: what is tried.
        patience: seconds after which a process is killed: it waits for something.
        workers: processes at a time.
    """
    batches = deque(numbers[start : start + _IN_ONE] for start in range(0, len(numbers), _IN_ONE))
    active: dict[Connection, _Batch] = {}
    try:
        while batches or active:
            while batches and len(active) < workers:
                _begin(trials, batches.popleft(), active)
            first = min(batch.since for batch in active.values()) + patience
            for connection in [it for it in wait([*active], max(0, first - time.monotonic())) if it in active]:
                yield from _answer(connection, active, batches)
            for connection in [it for it, batch in active.items() if time.monotonic() - batch.since >= patience]:
                active[connection].process.kill()
                yield from _over(connection, active, batches, "it hangs")
    finally:
        for batch in active.values():
            batch.process.kill()
            batch.process.join()


def _begin(trials: Trials, numbers: Sequence[int], active: dict[Connection, _Batch]) -> None:
    ours, theirs = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_try, args=(trials, numbers, theirs))
    process.start()
    theirs.close()
    active[ours] = _Batch(process, deque(numbers), time.monotonic())


def _try(trials: Trials, numbers: Sequence[int], answers: Connection) -> None:
    judge = trials()
    for number in numbers:
        answers.send(judge(number))


def _answer(
    connection: Connection, active: dict[Connection, _Batch], batches: deque[Sequence[int]]
) -> Iterator[tuple[int, str]]:
    batch = active[connection]
    try:
        found = connection.recv()
    except EOFError:
        batch.process.join()
        yield from _over(connection, active, batches, f"its process ended with {batch.process.exitcode}")
        return
    batch.since = time.monotonic()
    yield batch.waiting.popleft(), found


def _over(
    connection: Connection, active: dict[Connection, _Batch], batches: deque[Sequence[int]], why: str
) -> Iterator[tuple[int, str]]:
    """A process is over: after all of its numbers, or at the first that it has not answered."""
    batch = active.pop(connection)
    batch.process.join()
    connection.close()
    if batch.waiting:
        yield batch.waiting.popleft(), why
    if batch.waiting:
        batches.appendleft([*batch.waiting])
