"""The process that the workers of one pool are forked from: it has loaded what their hosts share."""

import gc
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection

from attrs import frozen

from esper_core.api import Plan
from esper_executor_processes.forkserver import fork, receive_descriptor
from esper_executor_processes.messages import dumps, loads
from esper_executor_processes.worker import serve


@frozen(kw_only=True)
class Begin:
    """The first thing that such a process is told.

    Attributes:
        path, folder, environment: Python's path, the working directory and the environment of the run's process.
        build: the `HostBuilder`, pickled.
        plan: of one of the hosts, to preload; None: nothing is preloaded.
        memory_mib: that a worker may allocate.
    """

    path: list[str]
    folder: str
    environment: Mapping[str, str]
    build: bytes
    plan: Plan | None
    memory_mib: int | None


@frozen
class Fork:
    """Begin a worker; the descriptor of its connection follows. The answer is its process id."""


@frozen
class Reap:
    """End a worker if it has not ended; the answer is how it ended, as `os.waitstatus_to_exitcode` says."""

    pid: int


def serve_forks(control: Connection) -> None:
    """Fork workers until the other side is gone, then end them."""
    begin: Begin = loads(control.recv_bytes())
    sys.path[:] = begin.path
    with suppress(OSError):  # a folder that is gone is of no use to the run's process either
        os.chdir(begin.folder)
    os.environ.clear()
    os.environ.update(begin.environment)
    import torch

    torch.set_num_threads(1)
    build = loads(begin.build) if begin.plan is not None else None
    if begin.plan is not None:
        # What it raises is raised again, and heard, where the host is built.
        with suppress(Exception):
            getattr(build, "preload", lambda plan: None)(begin.plan)
    # So that collecting garbage does not copy the pages that workers share.
    gc.collect()
    gc.freeze()
    control.send_bytes(dumps(_threads()))
    work = partial(serve, build=lambda: build or loads(begin.build), memory_mib=begin.memory_mib)
    workers: set[int] = set()
    try:
        while True:
            asked = loads(control.recv_bytes())
            if isinstance(asked, Fork):
                if (descriptor := receive_descriptor(control)) is None:
                    return
                workers.add(answer := fork(work, descriptor, closing=(control,)))
            else:
                workers.discard(asked.pid)
                answer = _end(asked.pid)
            control.send_bytes(dumps(answer))
    finally:
        for pid in workers:
            _end(pid)


def _threads() -> int:
    """How many threads this process has, those of libraries included."""
    try:
        return len(os.listdir("/proc/self/task"))
    except FileNotFoundError:
        import threading

        return threading.active_count()


def _end(pid: int) -> int:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)  # one that has ended already keeps its own exit status
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
