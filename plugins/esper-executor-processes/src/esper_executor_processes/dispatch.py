"""Asking all hosts at once: every worker is busy with one of its hosts at a time."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

from esper_core.api import Plan
from esper_executor_processes.messages import dumps, loads
from esper_executor_processes.remote_host import RemoteHost
from esper_executor_processes.worker import Answer, Call


class Connected(Protocol):
    """A worker that can be asked."""

    @property
    def place(self) -> int:
        """Its place among the workers."""
        ...

    @property
    def generation(self) -> int:
        """Which worker in this place it is, from 0."""
        ...

    @property
    def connection(self) -> Any:
        """Has ``send_bytes`` and ``recv_bytes``, which raise OSError or EOFError where the worker has ended."""
        ...


class Pool(Protocol):
    """Workers of one or several executors, wherever they are."""

    @property
    def size(self) -> int:
        """How many workers there are at most; 0 before the first executor is opened."""
        ...

    def join(self) -> int:
        """Let one more executor use the workers; return its number."""
        ...

    def leave(self, number: int) -> None:
        """Let go of an executor's hosts."""
        ...

    def open(self, plans: Sequence[Plan]) -> None:
        """Be ready for these hosts."""
        ...

    def worker(self, place: int) -> Connected:
        """Return the worker in a place. Raises EsperError if there is none and there can be none."""
        ...

    def lost(self, worker: Any) -> str:
        """Take a worker out, and say how it ended."""
        ...

    def wait(self, connections: Sequence[Any]) -> Sequence[Any]:
        """Return those connections that have something to say, at least one of them."""
        ...


#: Told of a host whose worker ended in one of its calls, and why; raises, or lets it be asked again.
Lost: TypeAlias = Callable[[RemoteHost, str], None]


def ask_all(pool: Pool, hosts: Sequence[RemoteHost], calls: Sequence[tuple[Call, ...]], lost: Lost) -> list[Answer]:
    """Ask every host, and return the answers in the order of the hosts.

    A worker that ends is started again, and the host that it was busy with is asked again, once `lost` has been told.
    """
    if len(hosts) != len(calls):
        raise ValueError(f"there are {len(hosts)} hosts, and calls of {len(calls)}")
    round_ = _Round(pool, hosts, calls, lost)
    try:
        return round_.answers()
    except BaseException:
        # A worker that is still busy would give its answer to the next question.
        round_.abandon()
        raise


class _Round:
    def __init__(self, pool: Pool, hosts: Sequence[RemoteHost], calls: Sequence[tuple[Call, ...]], lost: Lost) -> None:
        self._pool, self._hosts, self._calls, self._lost = pool, hosts, calls, lost
        self._answers: dict[int, Answer] = {}
        self._waiting: dict[int, deque[int]] = {}
        self._busy: dict[Any, tuple[Connected, int]] = {}
        for index, host in enumerate(hosts):
            self._waiting.setdefault(host.place, deque()).append(index)

    def answers(self) -> list[Answer]:
        for place in self._waiting:
            self._send_next(place)
        while self._busy:
            for connection in self._pool.wait(list(self._busy)):
                self._receive(connection)
        return [self._answers[index] for index in range(len(self._hosts))]

    def abandon(self) -> None:
        for worker, index in self._busy.values():
            self._hosts[index].generation = None
            self._pool.lost(worker)

    def _receive(self, connection: Any) -> None:
        worker, index = self._busy.pop(connection)
        host = self._hosts[index]
        try:
            answer: Answer = loads(connection.recv_bytes())
        except (EOFError, OSError):
            self._lose(worker, index)
        else:
            host.takes_in(answer, self._calls[index], worker.generation)
            self._answers[index] = answer
        self._send_next(host.place)

    def _send_next(self, place: int) -> None:
        """Send a worker its next host; those that have failed are answered here."""
        waiting = self._waiting[place]
        while waiting:
            index = waiting.popleft()
            host, calls = self._hosts[index], self._calls[index]
            if host.failed is not None:
                self._answers[index] = host.answer_as_failed(calls)
                continue
            worker = self._pool.worker(place)
            try:
                worker.connection.send_bytes(dumps(host.request(worker.generation, calls)))
            except OSError:
                self._lose(worker, index)
                continue
            self._busy[worker.connection] = worker, index
            return

    def _lose(self, worker: Connected, index: int) -> None:
        why = self._pool.lost(worker)
        self._lost(self._hosts[index], why)
        self._waiting[worker.place].appendleft(index)
