"""A worker: a process that makes hosts of plans, and does with them as it is asked."""

import os
import resource
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from time import perf_counter
from typing import Any

from attrs import field, frozen

from esper_core.api import HostBuilder, HostReport, HostRunner, HostState, Plan
from esper_executor_processes.messages import dumps, loads, portable, portable_report

#: A host in a worker: the executor that it belongs to, and its place there.
Key = tuple[int, int]

#: The name of a method of `HostRunner`, and what it is called with.
Call = tuple[str, tuple[Any, ...]]

#: Exit status of a worker that has no memory left even to say so.
OUT_OF_MEMORY = 86


@frozen(kw_only=True)
class Request:
    """Calls of one host, in order.

    Attributes:
        key: the host.
        plan: make the host of this plan first; None: it is there.
        state: bring it to this state then, as `dumps` gave it.
        replay: and repeat these calls, whose answers are known.
        calls: the calls that are to be answered.
    """

    key: Key
    plan: Plan | None = None
    state: bytes | None = None
    replay: tuple[Call, ...] = ()
    calls: tuple[Call, ...] = ()


@frozen(kw_only=True)
class Answer:
    """What came of a request.

    Attributes:
        values: of each call; a state as `dumps` gives it.
        seconds: each call took.
        raised: what the last one raised.
    """

    values: tuple[Any, ...] = ()
    seconds: tuple[float, ...] = ()
    raised: Exception | None = None


@frozen
class Forget:
    """Let go of the hosts of an executor."""

    executor: int


@frozen
class Ready:
    """The first thing that a worker says."""

    pid: int = field(factory=os.getpid)


def serve(connection: Connection, build: Callable[[], HostBuilder], memory_mib: int | None) -> None:
    """Answer requests until the other side is gone."""
    import torch

    torch.set_num_threads(1)
    if memory_mib is not None:
        _limit_memory(memory_mib)
    runners: dict[Key, HostRunner] = {}
    connection.send_bytes(dumps(Ready()))
    while True:
        try:
            request = loads(connection.recv_bytes())
        except EOFError:
            return
        if isinstance(request, Forget):
            for key in [key for key in runners if key[0] == request.executor]:
                del runners[key]
            continue
        try:
            said = dumps(answer(request, runners, build))
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
        connection.send_bytes(said)


def answer(request: Request, runners: dict[Key, HostRunner], build: Callable[[], HostBuilder]) -> Answer:
    """Make a host if that is asked for, and call it. Raises MemoryError; whatever else is raised is in the answer."""
    values: list[Any] = []
    seconds: list[float] = []
    try:
        if request.plan is not None:
            runners[request.key] = _made(request, request.plan, build())
        for name, arguments in request.calls:
            began = perf_counter()
            values.append(_called(runners[request.key], name, arguments))
            seconds.append(perf_counter() - began)
    except MemoryError:
        raise
    except Exception as error:
        return Answer(values=tuple(values), seconds=tuple(seconds), raised=portable(error))
    return Answer(values=tuple(values), seconds=tuple(seconds))


def _made(request: Request, plan: Plan, build: HostBuilder) -> HostRunner:
    runner = HostRunner(plan, build)
    if request.state is not None:
        runner.restore(loads(request.state))
    for name, arguments in request.replay:
        getattr(runner, name)(*arguments)
    return runner


def _called(runner: HostRunner, name: str, arguments: Sequence[Any]) -> Any:
    if name == "restore":
        arguments = [loads(state) for state in arguments]
    value = getattr(runner, name)(*arguments)
    if isinstance(value, HostState):
        return dumps(value)
    return portable_report(value) if isinstance(value, HostReport) else value


def _limit_memory(mib: int) -> None:
    with open("/proc/self/statm", encoding="ascii") as file:
        taken = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + (mib << 20), hard))
