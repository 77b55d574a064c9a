"""All processes of the job, as the first one sees them."""

import secrets
import socket
import threading
from collections.abc import Sequence
from itertools import count
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener, wait
from time import monotonic
from typing import Any

import torch
from attrs import define, field

from esper_core.api import EsperError, HostBuilder, Plan
from esper_executor_processes.messages import dumps, loads
from esper_executor_processes.worker import Forget
from esper_executor_torchrun.job import Job, store
from esper_executor_torchrun.rank import Begin, Rank, myself, serve

#: Numbers of executors: they share the other processes, whichever pool they are of.
_NUMBERS = count()

#: Seconds for the hosts of this process to come to the end of what they are doing.
_ENDING = 60.0


@define(eq=False)
class Process:
    """One process of the job.

    Attributes:
        place: its rank.
        rank: what it has said of itself.
        connection: to it; to a thread, in this process.
        generation: always 0: nobody else takes its place.
    """

    place: int
    rank: Rank
    connection: Connection
    generation: int = 0


@define(eq=False)
class Ranks:
    """The processes of the job: a pool of workers in which nobody takes a lost one's place.

    This process trains hosts too, in a thread of its own, while the other thread waits for all.

    Attributes:
        job: the job.
        build: makes hosts.
        timeout_seconds: how long a process may take for an answer.
        size: how many of them have hosts; 0 before the first executor is opened.
    """

    job: Job
    build: HostBuilder
    timeout_seconds: float
    size: int = 0
    _joined: list[int] = field(factory=list)
    _processes: dict[int, Process] = field(factory=dict)
    _lost: dict[int, str] = field(factory=dict)
    _thread: threading.Thread | None = None

    def join(self) -> int:
        """Let one more executor use the processes; return its number."""
        self._joined.append(number := next(_NUMBERS))
        self._introduce([number])
        return number

    def leave(self, number: int) -> None:
        """Let go of an executor's hosts; with the last executor, the hosts of this process end."""
        self._joined.remove(number)
        for process in self._processes.values():
            self._tell(process, Forget(number))
        if not self._joined:
            self.close()

    def open(self, plans: Sequence[Plan]) -> None:
        """Be ready for these hosts.

        Raises:
            EsperError: E652 if a process does not come.
        """
        if self.size or not plans:
            return
        self.size = min(self.job.size, len(plans))
        others = _others(self.job, self.timeout_seconds)
        for rank, (said, connection) in others.items():
            self._processes[rank] = Process(rank, said, connection)
        self._introduce(self._joined)
        self._processes[0] = Process(0, myself(0), self._begin_here())

    def worker(self, place: int) -> Process:
        """Return a process. Raises EsperError E652 if it is lost."""
        if place in self._lost:
            raise self.gone(place)
        return self._processes[place]

    def lost(self, worker: Process) -> str:
        """Take note that a process is lost, and say so."""
        worker.connection.close()
        self._lost[worker.place] = f"{worker.rank} has ended, or cannot be reached"
        return self._lost[worker.place]

    def wait(self, connections: Sequence[Connection]) -> Sequence[Any]:
        """Return those that have something to say. Raises EsperError E652 if none has within the timeout."""
        found = wait(connections, self.timeout_seconds)
        if not found:
            slow = [it for it in self._processes.values() if it.connection in connections]
            for process in slow:
                why = f"{process.rank} has not answered for {self.timeout_seconds:g} s"
                self._lost[process.place] = why
            raise self.gone(slow[0].place)
        return found

    def close(self) -> None:
        """Let go of the hosts of this process; the others wait for the next executor, or for the end of the job."""
        if (here := self._processes.pop(0, None)) is not None:
            here.connection.close()
        if self._thread is not None:
            self._thread.join(_ENDING)
            self._thread = None
        self.size = 0

    def name(self, place: int) -> str:
        """Name a process."""
        return str(self._processes[place].rank)

    def _begin_here(self) -> Connection:
        ours, theirs = socket.socketpair()
        threads = torch.get_num_threads()
        connection = Connection(theirs.detach())

        def serve_here() -> None:
            torch.set_num_threads(threads)  # each thread has a number of its own
            with connection:
                serve(connection, self.build)

        self._thread = threading.Thread(target=serve_here, name="esper-rank-0", daemon=True)
        self._thread.start()
        return Connection(ours.detach())

    def _introduce(self, executors: Sequence[int]) -> None:
        """Tell the other processes how hosts of these executors are made."""
        others = [it for place, it in self._processes.items() if place]
        build = dumps(self.build) if others else b""
        for process in others:
            for number in executors:
                self._tell(process, Begin(number, build))

    def _tell(self, process: Process, what: Any) -> None:
        try:
            process.connection.send_bytes(dumps(what))
        except OSError:
            self.lost(process)

    def gone(self, place: int) -> EsperError:
        """Return the error E652, which names a process that is lost."""
        return EsperError(
            "E652",
            "the processes that train together have lost each other",
            where="executor torchrun",
            why=self._lost[place],
            fix="begin the job again, and go on from the last checkpoint: torchrun ... -m esper_app run --resume last",
        )


#: Connections to the other processes; they last as long as the job.
_OTHERS: dict[Job, dict[int, tuple[Rank, Connection]]] = {}


def _others(job: Job, timeout_seconds: float) -> dict[int, tuple[Rank, Connection]]:
    if job not in _OTHERS:
        _OTHERS[job] = _come(job, timeout_seconds)
    return _OTHERS[job]


def _come(job: Job, timeout_seconds: float) -> dict[int, tuple[Rank, Connection]]:
    """Say in the job's store where this process is, and wait for all others."""
    found: dict[int, tuple[Rank, Connection]] = {}
    key = secrets.token_bytes(32)
    with Listener((job.host, 0), backlog=job.size, authkey=key) as listener:
        host, port = listener.address[:2]
        store(job).set(f"{job.name}/address", f"{host} {port} {key.hex()}")
        inner: socket.socket = listener._listener._socket  # type: ignore[attr-defined]
        deadline = monotonic() + timeout_seconds
        while len(found) < job.size - 1:
            inner.settimeout(max(0.01, deadline - monotonic()))
            try:
                connection = listener.accept()
                rank: Rank = loads(connection.recv_bytes())
            except TimeoutError:
                missing = sorted({*range(1, job.size)} - {*found})
                raise EsperError(
                    "E652",
                    "the processes that train together have lost each other",
                    where="executor torchrun",
                    why=f"rank {', '.join(map(str, missing))} has not come within {timeout_seconds:g} s",
                    fix="look at what it wrote; start all processes with: torchrun ... -m esper_app",
                ) from None
            except (AuthenticationError, EOFError, OSError):
                continue  # a stranger, such as what looks for open ports, or a process that has ended meanwhile
            found[rank.number] = rank, connection
    return found
