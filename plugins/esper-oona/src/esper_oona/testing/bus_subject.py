"""A bus under test: what its checks look at, and what they do again and again."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any
from uuid import uuid4

from attrs import frozen

from esper_oona.bus import Bus, Delivery, Outgoing
from esper_oona.kinds import BusSpec
from esper_testing.check import CheckFailure
from esper_testing.subject import Subject
from esper_testing.usage import Usage

#: A lease that ends while a check runs, and one that does not, in seconds.
SHORT, LONG = 0.15, 600.0

#: How long a check waits for what has to come.
PATIENCE_SECONDS = 20.0


class BusUnderTest:
    """A bus, and streams of its own for one check."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.stream = f"check-{uuid4().hex[:12]}"

    def publish(self, *keys_and_bodies: str) -> list[int]:
        """Publish messages, given as ``key:body`` or ``body``."""
        pairs = [it.rpartition(":") for it in keys_and_bodies]
        return [*self.bus.publish(self.stream, [Outgoing(key, body.encode()) for key, _, body in pairs])]

    def receive(
        self, consumer: str, *, group: str = "g", limit: int = 100, lease: float = LONG, attempts: int = 9
    ) -> list[Delivery]:
        """Lease messages."""
        return [*self.bus.receive(self.stream, group, consumer, limit=limit, lease_seconds=lease, attempts=attempts)]

    def eventually(self, consumer: str, **how: Any) -> list[Delivery]:
        """Lease messages as soon as there are any."""
        found: list[Delivery] = waited(lambda: self.receive(consumer, **how))
        return found

    def drained(self, consumer: str, **how: Any) -> list[Delivery]:
        """Take and acknowledge messages until there are no more."""
        found: list[Delivery] = []
        while deliveries := self.receive(consumer, **how):
            self.bus.acknowledge(deliveries)
            found += deliveries
        return found


def waited(ask: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    """Return the first answer that is not empty, or the last one after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (found := ask()) and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    return found


def bodies(deliveries: Sequence[Delivery]) -> list[str]:
    """Return what was delivered."""
    return [it.body.decode() for it in deliveries]


def demand(true: object, seen: str, cause: str, fix: str) -> None:
    """Fail a check."""
    if not true:
        raise CheckFailure(seen, cause=cause, fix=fix)


@frozen(kw_only=True)
class BusSubject(Subject[BusSpec]):
    """What the checks of buses look at. The options name a bus that nobody else uses."""

    def build(self) -> Bus:
        """Open the bus."""
        bus: Bus = self.factory(self.config)
        return bus

    def build_any(self) -> None:
        """Open the bus once."""
        self.build().close()

    @contextmanager
    def opened(self) -> Iterator[BusUnderTest]:
        """Open the bus, with a stream that is not used yet."""
        bus = self.build()
        try:
            yield BusUnderTest(bus)
        finally:
            bus.close()

    @contextmanager
    def usage(self) -> Iterator[Usage]:
        """Publish and handle, and trim every tenth time, which is often enough to see what a bus keeps."""
        uses = count()
        messages = [Outgoing(f"k{index % 2}", bytes([index]) * 20) for index in range(6)]
        with self.opened() as test:

            def use() -> Any:
                test.bus.publish(test.stream, messages)
                found = test.drained("c")
                if next(uses) % 10 == 0:
                    test.bus.trim(test.stream, keep=0)
                return [(it.key, it.body, it.attempt) for it in found]

            yield Usage(use=use, handed=messages)
