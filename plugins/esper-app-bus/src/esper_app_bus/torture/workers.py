"""The processes that publish and handle messages until they are killed."""

import json
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from esper_app_bus.torture.flow import IDLE_SECONDS, Calm, poisonable
from esper_app_bus.torture.metronome import keep_time
from esper_app_bus.torture.notes import Notebook
from esper_core.api import EsperError
from esper_leyline_proto.conversion import from_bytes
from esper_oona.api import (
    Bus,
    Delivery,
    Draft,
    Envelope,
    Keyring,
    MessageType,
    Outgoing,
    Pressure,
    Publisher,
    Replays,
    Signer,
    Stream,
    Subscriber,
    Subscription,
)

STREAM, GROUP = Stream.NORMAL, "torture"
KEYS = 4


@frozen
class Bench:
    """What every process is given.

    Attributes:
        open_bus: opens the bus.
        folder: where notes are made, and what was accepted is kept.
        subscription: how consumers take messages.
        batch: how many messages a producer publishes at once.
        calm: the time before the first kill.
        torturer: the process that has begun it; the others end when it does.
    """

    open_bus: Callable[[], Bus]
    folder: Path
    subscription: Subscription
    batch: int
    calm: Calm
    torturer: int = field(factory=os.getpid)

    @property
    def stop(self) -> Path:
        """Producers stop when this file is there."""
        return self.folder / "stop"

    @property
    def signer(self) -> Signer:
        """Signs and verifies with the torture's own key."""
        return Signer(Keyring({"torture": (self.folder / "key").read_bytes()}))


def opened(bench: Bench) -> Bus:
    """Open the bus, as soon as its server is there."""
    while os.getpid() == bench.torturer or os.getppid() == bench.torturer:
        try:
            return bench.open_bus()
        except EsperError as error:
            if error.code != "E611":
                raise
            time.sleep(0.02)
    os._exit(1)


def produce(bench: Bench, name: str, skew_seconds: float) -> None:
    """Publish until asked to stop, with a clock that is wrong by so much; note what the bus has confirmed."""
    rng, notebook = random.Random(name), Notebook(bench.folder, name)
    publisher = Publisher(
        opened(bench),
        bench.signer,
        name=name,
        pressure={STREAM: Pressure(limit=2_000, wait_seconds=1.0)},
        clock=lambda: time.time() + skew_seconds,
    )
    numbers, stranger = dict.fromkeys((f"{name}/{index}" for index in range(KEYS)), 0), skew_seconds > 60.0
    while not bench.stop.exists() and os.getppid() == bench.torturer:
        wave, size = bench.calm.wave(), 1 if stranger else bench.batch
        contents = [_content(rng, numbers, wave, stranger=stranger) for _ in range(size)]
        drafts = [
            Draft(
                type=MessageType.FIELD_REPORT,
                key=it["key"],
                id=it["id"],
                payload=json.dumps({**it, "made": time.time()}).encode(),
            )
            for it in contents
        ]
        while os.getppid() == bench.torturer:
            try:
                publisher.publish(drafts)
                break
            except EsperError as error:
                # The stream is full, or the server is away: the same messages again.
                if error.code not in ("E611", "E613"):
                    raise
                time.sleep(0.02)
        notebook.note("sent", contents)
        # What is refused is to be there, and no load of its own; and what waits long says nothing about poison.
        time.sleep(0.1 if stranger else 0.01 if bench.calm.over else 0.05)


def _content(rng: random.Random, numbers: dict[str, int], wave: str, *, stranger: bool) -> dict[str, Any]:
    key = rng.choice([*numbers])
    numbers[key] += 1
    share = 0.005
    if wave:
        share = 0.1 if wave == "poisoned" and poisonable(key) else 0.0
    sort = "future" if stranger else "poison" if rng.random() < share else "plain"
    return {"id": f"{key}/{numbers[key]}", "key": key, "number": numbers[key], "sort": sort, "wave": wave}


def consume(bench: Bench, name: str, skew_seconds: float) -> None:
    """Handle messages until killed, with a clock that is wrong by so much, and note every step."""
    rng, notebook = random.Random(name), Notebook(bench.folder, name)
    bus = NotedBus(opened(bench), notebook)

    def handle(envelope: Envelope) -> None:
        content = json.loads(envelope.payload)
        made = content.pop("made")
        if content["sort"] == "poison" or (envelope.attempt == 0 and content["number"] % 97 == 0):
            notebook.note("failed", [content])
            raise ValueError("this message cannot be handled")
        notebook.note("handled", [{**content, "seconds": time.time() - made}])

    subscriber = Subscriber(
        bus,
        STREAM,
        GROUP,
        name,
        {MessageType.FIELD_REPORT: handle},
        signer=bench.signer,
        replays=Replays(bench.folder / "replays.sqlite"),
        subscription=bench.subscription,
        clock=lambda: time.time() + skew_seconds,
    )
    while os.getppid() == bench.torturer:
        try:
            if not subscriber.poll():
                time.sleep(IDLE_SECONDS)
            if rng.random() < 0.1:
                bus.trim(STREAM, keep=0)
        except EsperError as error:
            if error.code != "E611":
                raise
            time.sleep(0.02)


def keep_the_time(bench: Bench, name: str, _: float) -> None:
    """Note how late the timers of a process are that does nothing else."""
    keep_time(Notebook(bench.folder, name), bench.torturer)


class NotedBus:
    """A bus, with notes of what is leased, given back and acknowledged."""

    def __init__(self, bus: Bus, notebook: Notebook) -> None:
        self._bus = bus
        self._notebook = notebook

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    def receive(self, *args: Any, **how: Any) -> Sequence[Delivery]:
        """Lease messages, and note their ids."""
        found = self._bus.receive(*args, **how)
        self._notebook.note("leased", [_lease(it) for it in found])
        return found

    def acknowledge(self, deliveries: Sequence[Delivery]) -> int:
        """Acknowledge messages, and note it if the bus confirms all of them."""
        finished = self._bus.acknowledge(deliveries)
        if finished == len(deliveries):
            self._notebook.note("acknowledged", [{"id": id_of(it)} for it in deliveries])
        return finished

    def retry(self, delivery: Delivery, **how: Any) -> bool:
        """Give a message back, and note it."""
        if done := self._bus.retry(delivery, **how):
            self._notebook.note("returned", [{"id": id_of(delivery)}])
        return done

    def bury(self, delivery: Delivery, reason: str) -> bool:
        """Give a message up, and note it."""
        if done := self._bus.bury(delivery, reason):
            self._notebook.note("returned", [{"id": id_of(delivery)}])
        return done


def _lease(it: Delivery) -> dict[str, Any]:
    id = id_of(it)
    return {"id": id, "key": it.key, "number": int(id.rpartition("/")[2]), "attempt": it.attempt}


def id_of(it: Delivery | Outgoing | Any) -> str:
    """Return the id of the message in an envelope's bytes."""
    return from_bytes(Envelope, it.body).id


def begin(work: Callable[[Bench, str, float], None], bench: Bench, name: str, skew_seconds: float) -> int:
    """Start a process that does this, and return its number; forked, because a hundred of them are to begin."""
    process = os.fork()
    if process:
        return process
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        work(bench, name, skew_seconds)
    except BaseException:
        import traceback

        (bench.folder / f"{name}.error").write_text(traceback.format_exc())
        os._exit(1)
    os._exit(0)
