"""The actors of one or several executors, seen from the process of the run."""

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic, sleep
from typing import Any

import ray
from attrs import define, field
from ray.exceptions import GetTimeoutError, ObjectLostError, RayActorError, RayError

from esper_core.api import EsperError, HostBuilder, Plan
from esper_executor_ray.actor import HostActor
from esper_executor_ray.config import RayConfig

#: Seconds until an actor is begun once more.
_AGAIN = 0.5
#: What Ray is asked for where no cluster is named. Without a word it would join whichever was begun last on this
#: machine, by whomever, and end this process a minute after that one has ended.
_OF_ITS_OWN = "local"
_NOT_STARTED = "Ray actors cannot be started"
#: Longest part of what Ray says of an actor's end that is repeated.
_WORDS = 200


@define(eq=False)
class Line:
    """A question to an actor that has not been answered yet, in the shape of a connection."""

    actor: Any
    question: Any = None
    ended: str = ""

    def send_bytes(self, request: bytes) -> None:
        """Ask."""
        self.question = self.actor.answer.remote(request)

    def recv_bytes(self) -> bytes:
        """Return the answer. Raises EOFError if the actor has ended, or its answer is lost."""
        try:
            answer: bytes = ray.get(self.question)
        except (RayActorError, ObjectLostError) as error:  # killed, or with its node, where a large answer lies
            self.ended = " ".join(str(error).split())[:_WORDS]
            raise EOFError(self.ended) from error
        return answer


@define(eq=False)
class Actor:
    """One actor.

    Attributes:
        place: among the actors.
        generation: which actor in this place it is, from 0.
        connection: to it.
        node, machine, pid: where it runs.
    """

    place: int
    generation: int
    connection: Line
    node: str
    machine: str
    pid: int


@define(eq=False)
class Actors:
    """Actors by place, begun when they are first needed, and again when they are lost.

    Attributes:
        build: makes their hosts.
        config: of the executor.
        size: how many there are at most; 0 before the first executor is opened.
        waits_for: what it waits for at this moment, in words; empty: nothing.
    """

    build: HostBuilder
    config: RayConfig
    size: int = 0
    waits_for: str = ""
    _executors: list[int] = field(factory=list)
    _joined: int = 0
    _actors: dict[int, Actor] = field(factory=dict)
    _generations: dict[int, int] = field(factory=dict)

    def join(self) -> int:
        """Let one more executor use the actors; return its number."""
        self._executors.append(self._joined)
        self._joined += 1
        return self._executors[-1]

    def leave(self, number: int) -> None:
        """Let go of an executor's hosts; with the last executor all actors end."""
        self._executors.remove(number)
        for actor in self._actors.values():
            actor.connection.actor.forget.remote(number)
        if not self._executors:
            self.close()

    def open(self, plans: Sequence[Plan]) -> None:
        """Be ready for these hosts. Raises EsperError E541 if there is no cluster, or no room in it."""
        if self.size or not plans:
            return
        address = self.config.address or os.environ.get("RAY_ADDRESS") or _OF_ITS_OWN
        self.waits_for = "starting Ray on this machine" if address == _OF_ITS_OWN else f"waiting for Ray at {address}"
        try:
            _connect(address, named=self.config.address)
            self.size = min(self.config.actors or len(plans), len(plans))
            room = f", which takes {', '.join(taken.values())}" if (taken := self._taken()) else ""
            begun = {place: self._begin() for place in range(self.size)}  # all at once, before the first is waited for
            for place, actor in begun.items():
                self.waits_for = f"waiting for actor {place + 1} of {self.size}{room}"
                self._actors[place] = self._found(place, actor)
        finally:
            self.waits_for = ""

    def worker(self, place: int) -> Actor:
        """Return the actor in a place, which is begun if there is none. Raises EsperError E541 without room for it."""
        if place not in self._actors:
            self._actors[place] = self._found(place, self._begin())
        return self._actors[place]

    def lost(self, worker: Actor) -> str:
        """Take an actor out, which ends if it has not ended, and say how it ended."""
        if self._actors.get(worker.place) is worker:
            del self._actors[worker.place]
        with suppress(RayError):
            ray.kill(worker.connection.actor)
        why = f": {worker.connection.ended}" if worker.connection.ended else ""
        return f"its actor (process {worker.pid} on {worker.machine}) has ended{why}"

    def wait(self, connections: Sequence[Line]) -> Sequence[Any]:
        """Return those that have an answer, or have ended."""
        asked = {it.question: it for it in connections}
        ready, _ = ray.wait([*asked], num_returns=1)
        return [asked[question] for question in ready]

    def pids(self) -> list[int]:
        """The process ids of the actors, by place."""
        return [self._actors[place].pid for place in sorted(self._actors)]

    def close(self) -> None:
        """End all actors. A second call does nothing."""
        for actor in self._actors.values():
            with suppress(RayError):
                ray.kill(actor.connection.actor)
        self._actors.clear()
        self.size = 0

    def _begin(self) -> Any:
        config = self.config
        made = ray.remote(HostActor).options(
            num_cpus=config.cpus,
            num_gpus=config.gpus,
            resources=dict(config.resources) or None,
            scheduling_strategy="SPREAD",
            max_restarts=0,  # its hosts are made again by what they are told, not by what they were built of
        )
        return made.remote(self.build)

    def _found(self, place: int, actor: Any) -> Actor:
        """Wait until an actor is there. One that was given to a node which is just being lost is begun once more."""
        deadline = monotonic() + self.config.start_seconds
        while True:
            try:
                node, machine, pid = ray.get(actor.where.remote(), timeout=max(0.0, deadline - monotonic()))
                break
            except GetTimeoutError as error:
                ray.kill(actor)
                raise self._no_room() from error
            except RayActorError as error:
                if monotonic() > deadline or "creation task" in str(error):
                    raise _cannot_begin(" ".join(str(error).split())[:_WORDS]) from error
            sleep(_AGAIN)
            actor = self._begin()
        self._generations[place] = generation = self._generations.get(place, -1) + 1
        return Actor(place, generation, Line(actor), node, machine, pid)

    def _no_room(self) -> EsperError:
        free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
        wants = ", ".join(f"{it} of {free.get(name, 0.0):g} free" for name, it in self._taken().items())
        return _cannot_begin(f"the cluster found no room in {self.config.start_seconds:g} s: an actor takes {wants}")

    def _taken(self) -> dict[str, str]:
        """What an actor takes, in words, by name."""
        asked = {"CPU": self.config.cpus, "GPU": self.config.gpus, **self.config.resources}
        return {name: f"{amount:g} {name}" for name, amount in asked.items() if amount}


#: Where this process was connected to by `_connect`; it stays connected, because beginning takes seconds.
_connected: str | None = None


def _connect(address: str, *, named: str | None) -> None:
    """Connect this process to a cluster, or begin one, unless it is connected and no other cluster is named."""
    global _connected
    if ray.is_initialized():
        if named not in (None, _connected):
            at = "elsewhere" if _connected is None else f'to "{_connected}"'
            why = f'it was to use "{named}", and this process is connected {at} already'
            fix = "leave executor.address out to use that cluster, or call ray.shutdown() before"
            raise EsperError("E541", _NOT_STARTED, where="executor ray", why=why, fix=fix)
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody was asked whether they like to be counted
    # Ray would put hosts behind everything else that the machine does, by 15. It reads this where a cluster begins.
    os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _cannot_begin(str(error)) from error
    _connected = address


def _cannot_begin(why: str) -> EsperError:
    fix = "look at `ray status`, ask for less (executor.cpus, executor.gpus), or run in this process: --executor serial"
    return EsperError("E541", _NOT_STARTED, where="executor ray", why=why, fix=fix)
