"""A small Jepsen: processes that publish, handle and keep messages are killed at random, and all is accounted for."""

import os
import random
import secrets
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from attrs import frozen

from esper_app_bus.torture.flow import Calm
from esper_app_bus.torture.judge import FUTURE_SECONDS, Findings, History, by_message, judge
from esper_app_bus.torture.notes import Notebook, read_notes
from esper_app_bus.torture.workers import STREAM, Bench, begin, consume, id_of, keep_the_time, opened, produce
from esper_core.api import EsperError
from esper_oona.api import Bus, BusServer, Subscription

#: How long to wait until all is handled, after the last kill.
_PATIENCE_SECONDS = 120.0

_SUBSCRIPTION = Subscription(batch=20, lease_seconds=3.0, attempts=4, first_delay_seconds=0.02)


@frozen(kw_only=True)
class Plan:
    """How much of it.

    Attributes:
        kills: how many processes are killed, at random times, with SIGKILL.
        seconds: for how long.
        calm_seconds: before that nothing is killed, and messages beside poisoned ones are compared with others.
        seed: of the kills; what the processes make of them is not repeatable.
        skews: by how many seconds the clocks of producers and consumers are wrong; two of them differ by less than what
            a `Signer` allows.
    """

    kills: int
    seconds: float
    calm_seconds: float = 9.0
    seed: int = 0
    producers: int = 2
    consumers: int = 3
    batch: int = 10
    skews: tuple[float, ...] = (0.0, 14.0, -14.0)
    subscription: Subscription = _SUBSCRIPTION


@frozen
class Torture:
    """What came of a torture.

    Attributes:
        kills: how often a process of each sort was killed.
    """

    findings: Findings
    kills: dict[str, int]


class _Crowd:
    """The processes, each with its name; who is killed comes back under another one."""

    def __init__(self, bench: Bench, plan: Plan, server: BusServer | None) -> None:
        self._bench, self._plan, self._server = bench, plan, server
        self._notebook = Notebook(bench.folder, "torturer")
        self._rng = random.Random(plan.seed)
        self._born = 0
        self._living: dict[str, tuple[str, int]] = {}
        self.kills = {"producer": 0, "consumer": 0, "server": 0}

    def begin(self) -> None:
        for _ in range(self._plan.producers):
            self._bear("producer")
        for _ in range(self._plan.consumers):
            self._bear("consumer")

    def _bear(self, sort: str) -> None:
        self._born += 1
        name, skews = f"{sort}-{self._born}", self._plan.skews
        work = produce if sort == "producer" else consume
        self._living[name] = (sort, begin(work, self._bench, name, skews[self._born % len(skews)]))

    def strangers(self) -> None:
        """One producer whose clock is far ahead, and one process that only sleeps."""
        self._living["metronome"] = ("metronome", begin(keep_the_time, self._bench, "metronome", 0.0))
        name = "producer-from-the-future"
        self._living[name] = ("future", begin(produce, self._bench, name, FUTURE_SECONDS))

    def kill_one(self) -> None:
        sorts = [*(["producer"] * 2), *(["consumer"] * 4), *(["server"] if self._server else [])]
        sort = self._rng.choice(sorts)
        self.kills[sort] += 1
        if sort == "server":
            assert self._server is not None
            self._server.kill()
            self._notebook.note("killed", [{}], who="server")
            self._server.start()
            self._notebook.note("started", [{}], who="server")
            return
        name = self._rng.choice([name for name, (its, _) in self._living.items() if its == sort])
        self._end(name)
        self._bear(sort)

    def _end(self, name: str) -> None:
        _, process = self._living.pop(name)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        self._notebook.note("killed", [{}], who=name)

    def wait_for_producers(self) -> None:
        for name in [name for name, (sort, _) in self._living.items() if sort in ("producer", "future")]:
            os.waitpid(self._living.pop(name)[1], 0)

    def end(self) -> None:
        for name in [*self._living]:
            self._end(name)


def torture(open_bus: Callable[[], Bus], plan: Plan, folder: Path, server: BusServer | None = None) -> Torture:
    """Kill processes, and hold what happened against what every bus promises.

    Args:
        open_bus: opens the bus; called in each process.
        plan: how much.
        folder: an empty folder for notes.
        server: is killed and started as well; it runs already. None: there is none, or it is somebody else's.

    Raises:
        EsperError: E530 if a process failed by itself, which is a defect of the bus or of the torture.
    """
    (folder / "key").write_bytes(secrets.token_bytes(32))
    bench = Bench(open_bus, folder, plan.subscription, plan.batch, Calm(plan.calm_seconds))
    crowd = _Crowd(bench, plan, server)
    rng, begun = random.Random(plan.seed + 1), bench.calm.begun + plan.calm_seconds
    moments = sorted(rng.uniform(0.0, plan.seconds) for _ in range(plan.kills))
    try:
        crowd.begin()
        crowd.strangers()
        for moment in (*moments, plan.seconds):
            threading.Event().wait(max(0.0, begun + moment - time.monotonic()))
            if moment < plan.seconds:
                crowd.kill_one()
        bench.stop.touch()
        crowd.wait_for_producers()
        bus = opened(bench)
        _drain(bus)
    finally:
        crowd.end()
    if failures := sorted(folder.glob("*.error")):
        raise EsperError("E530", f"{failures[0].stem} failed by itself", why=failures[0].read_text()[-2000:])
    dead = by_message((id_of(it), it) for it in bus.dead(1_000_000) if it.stream == STREAM)
    bus.close()
    notes, how = read_notes(folder), plan.subscription
    return Torture(judge(History(notes, dead, how.lease_seconds, how.attempts)), crowd.kills)


def _drain(bus: Bus) -> None:
    """Wait until nothing is left; what is left after that is judged as it is."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if not any(it.depth for it in bus.backlogs() if it.stream == STREAM):
            return
        threading.Event().wait(0.05)
