"""What a process of the job does that is not the first one: it trains the hosts that it is given."""

import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Client, Connection
from time import sleep
from typing import Any

from attrs import frozen

from esper_core.api import HostBuilder, HostRunner
from esper_executor_processes.messages import dumps, loads
from esper_executor_processes.worker import Forget, Key, Request, answer
from esper_executor_torchrun.job import LOOKING, Job, store
from esper_executor_torchrun.meeting import part


@frozen(kw_only=True)
class Rank:
    """The first thing that a process says: which one it is, and where.

    Attributes:
        number: its rank.
        machine, pid: where it runs.
    """

    number: int
    machine: str
    pid: int

    def __str__(self) -> str:
        return f"rank {self.number} (process {self.pid} on {self.machine})"


@frozen
class Begin:
    """The hosts of an executor are made by this builder; as `dumps` gave it."""

    executor: int
    build: bytes


def is_follower() -> bool:
    """Say whether this process follows the first one of a job, and has no command of its own to run."""
    job = Job.here()
    return job is not None and job.rank > 0


def is_leader() -> bool:
    """Say whether this process is the first one of a job."""
    job = Job.here()
    return job is not None and job.rank == 0


def follow() -> None:
    """Serve the first process until the job is over."""
    # Ctrl-C reaches every process of a terminal; what becomes of the run is for the first one to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    job = Job.here()
    assert job is not None
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    found = _address(job)
    if found is None:
        return
    host, port, key = found
    connection = Client((host, int(port)), authkey=bytes.fromhex(key))
    connection.send_bytes(dumps(myself(job.rank)))
    serve(connection)
    part()


def lead() -> Callable[[], None]:
    """Return what the first process calls when its command is over, whatever came of it."""
    job = Job.here()
    assert job is not None

    def over() -> None:
        with suppress(Exception):  # others may be gone
            part()
        with suppress(Exception):  # torchrun may be gone, and with it all others
            store(job).set(f"{job.name}/over", "1")

    return over


def myself(number: int) -> Rank:
    """Return what this process says of itself."""
    return Rank(number=number, machine=socket.gethostname(), pid=os.getpid())


def serve(connection: Connection, build: HostBuilder | None = None) -> None:
    """Answer requests until the other side is gone.

    Args:
        connection: to the first process.
        build: makes the hosts of all executors; None: for each of them a message brings what does.
    """
    runners: dict[Key, HostRunner] = {}
    builders: dict[int, HostBuilder] = {}
    while True:
        try:
            said: Any = loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        if isinstance(said, Begin):
            import torch

            torch.set_num_threads(1)  # a run that wants more sets them as it makes its hosts
            builders[said.executor] = loads(said.build)
        elif isinstance(said, Forget):
            for key in [key for key in runners if key[0] == said.executor]:
                del runners[key]
            builders.pop(said.executor, None)
        else:
            assert isinstance(said, Request)
            made = partial(_given, build or builders[said.key[0]])
            answered = dumps(answer(said, runners, made))
            with suppress(OSError):
                connection.send_bytes(answered)


def _given(build: HostBuilder) -> HostBuilder:
    return build


def _address(job: Job) -> tuple[str, str, str] | None:
    """Wait until the first process says where it is; None if its command was over before it needed anybody."""
    names = [f"{job.name}/address", f"{job.name}/over"]
    shared = store(job)
    while not any(shared.check([name]) for name in names):
        sleep(LOOKING)
    if not shared.check(names[:1]):
        return None
    host, port, key = shared.get(names[0]).decode().split(" ")
    return host, port, key
