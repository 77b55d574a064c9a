"""The worker processes of one or several executors, seen from the process of the run."""

import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from time import monotonic
from typing import Any

from attrs import define, field

from esper_core.api import EsperError, HostBuilder, Plan
from esper_executor_processes.config import ProcessesConfig
from esper_executor_processes.forkserver import send_descriptor
from esper_executor_processes.launcher import cannot_begin, environment, forked_process
from esper_executor_processes.messages import dumps, loads
from esper_executor_processes.preloaded import Begin, Fork, Reap
from esper_executor_processes.worker import OUT_OF_MEMORY, Forget

#: Seconds for a process to load what hosts need; and for all workers to end.
LOADING, CLOSING = 300.0, 5.0

_WITH_ITS_PARENT = "its process has ended with the one that began it"


@define(eq=False)
class Worker:
    """One worker.

    Attributes:
        place: among the workers.
        generation: which worker in this place it is, from 0.
        pid: its process id.
        connection: to it.
    """

    place: int
    generation: int
    pid: int
    connection: Connection


@define(eq=False)
class WorkerPool:
    """Workers by place, begun when they are first needed, and again when they are lost.

    Attributes:
        build: makes their hosts.
        config: of the executor.
        size: how many workers there are at most; 0 before the first executor is opened.
        preloaded: what workers need was loaded before they were forked.
    """

    build: HostBuilder
    config: ProcessesConfig
    size: int = 0
    preloaded: bool = True
    _users: int = 0
    _joined: int = 0
    _plan: Plan | None = None
    _control: Connection | None = None
    _workers: dict[int, Worker] = field(factory=dict)
    _generations: dict[int, int] = field(factory=dict)

    def join(self) -> int:
        """Let one more executor use the workers; return its number."""
        self._users, self._joined = self._users + 1, self._joined + 1
        return self._joined - 1

    def leave(self, number: int) -> None:
        """Let go of an executor's hosts; with the last executor all processes end."""
        self._users -= 1
        if not self._users:
            self.close()
        for worker in self._workers.values():
            with suppress(OSError):  # one that has ended is found out when it is asked
                worker.connection.send_bytes(dumps(Forget(number)))

    def open(self, plans: Sequence[Plan]) -> None:
        """Be ready for these hosts.

        Raises:
            EsperError: E541 if worker processes cannot be begun.
        """
        if not self.size and plans:
            self.size, self._plan = min(self.config.workers or _processors(), len(plans)), plans[0]
            self._begin()

    def worker(self, place: int) -> Worker:
        """Return the worker in a place, which is begun if there is none. Raises EsperError E541 if it cannot be."""
        if place not in self._workers:
            try:
                self._workers[place] = self._fork(place)
            except (EOFError, OSError):
                self._begin()
                try:
                    self._workers[place] = self._fork(place)
                except (EOFError, OSError) as error:
                    raise _has_ended(error) from error
        return self._workers[place]

    def lost(self, worker: Worker) -> str:
        """Take a worker out, which ends if it has not ended, and say how it ended."""
        worker.connection.close()
        if self._workers.get(worker.place) is not worker:
            return _WITH_ITS_PARENT
        del self._workers[worker.place]
        try:
            return _ending(self._ask(Reap(worker.pid)))
        except (EOFError, OSError):
            return _WITH_ITS_PARENT

    def wait(self, connections: Sequence[Connection]) -> Sequence[Any]:
        """Return those connections that have something to say, at least one of them."""
        return wait(connections)

    def pids(self) -> list[int]:
        """The process ids of the workers, by place."""
        return [self._workers[place].pid for place in sorted(self._workers)]

    def close(self) -> None:
        """End all processes, within a deadline. A second call does nothing."""
        for worker in self._workers.values():
            worker.connection.close()
        self._workers.clear()
        self._disconnect()
        self.size = 0

    def _fork(self, place: int) -> Worker:
        ours, theirs = socket.socketpair()
        try:
            assert self._control is not None
            self._control.send_bytes(dumps(Fork()))
            send_descriptor(self._control, theirs.fileno())
            pid = self._answer()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        generation = self._generations.get(place, -1) + 1
        self._generations[place] = generation
        worker = Worker(place, generation, pid, Connection(ours.detach()))
        with suppress(EOFError, OSError):  # one that has ended already is found out when it is asked
            loads(worker.connection.recv_bytes())
        return worker

    def _begin(self) -> None:
        """Begin the process that workers are forked from; again without preloading if that leaves it with threads."""
        self._workers.clear()
        if self._start() > 1:
            self.preloaded = False
            self._start()

    def _start(self) -> int:
        """Begin the process that workers are forked from; return how many threads it has."""
        self._disconnect()
        begin = Begin(
            path=sys.path,
            folder=os.getcwd(),
            environment=environment(),
            build=dumps(self.build),
            plan=self._plan if self.preloaded else None,
            memory_mib=self.config.memory_mib,
        )
        self._control = forked_process()
        try:
            self._control.send_bytes(dumps(begin))
            return int(self._answer())
        except (EOFError, OSError) as error:
            self._disconnect()
            raise _has_ended(error) from error

    def _disconnect(self) -> None:
        """Without its connection the process ends its workers and itself; it has a deadline."""
        if self._control is not None:
            with suppress(OSError):
                self._shut(self._control)
            self._control.close()
            self._control = None

    def _shut(self, control: Connection) -> None:
        with socket.socket(fileno=os.dup(control.fileno())) as channel:
            channel.shutdown(socket.SHUT_WR)
        deadline = monotonic() + CLOSING
        with suppress(EOFError):
            while control.poll(max(0.0, deadline - monotonic())):
                control.recv_bytes()

    def _ask(self, question: Any) -> Any:
        if self._control is None:
            raise EOFError
        self._control.send_bytes(dumps(question))
        return self._answer()

    def _answer(self) -> Any:
        assert self._control is not None
        if not self._control.poll(LOADING):
            raise EOFError(f"it has not answered for {LOADING:g} s")
        return loads(self._control.recv_bytes())


def _has_ended(error: Exception) -> EsperError:
    return cannot_begin(f"the process that begins them has ended ({error or 'without a word'})")


def _processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _ending(status: int) -> str:
    if status < 0:
        return f"its process was ended by {signal.Signals(-status).name}"
    if status == OUT_OF_MEMORY:
        return "its process had no memory left"
    return f"its process has ended with exit status {status}"
