"""What a bus is: a log of messages with groups of consumers, leases, attempts and dead letters."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Protocol

from attrs import frozen


class Survival(IntEnum):
    """The worst that a message survives once `Bus.publish` has returned. Each level includes those before it.

    Attributes:
        NOTHING: it is gone with the process that has published it.
        PROCESS: the death of a process that publishes or consumes.
        SERVER: also the death of the process that keeps the messages (of every process, where there is no server).
        POWER: also the loss of power, or the death of the operating system.
    """

    NOTHING = 0
    PROCESS = 1
    SERVER = 2
    POWER = 3


@frozen
class Outgoing:
    """A message to publish.

    Attributes:
        key: messages of one key are delivered in the order of their publication; "" is no key, and no order.
        body: anything.
    """

    key: str
    body: bytes


@frozen
class Delivery:
    """A message that a consumer may handle until its lease ends.

    Attributes:
        position: where it is in its stream; of two messages the later one has the greater position.
        attempt: how many times it has been handed out, this time included.
        taken_over: the consumer that had it last did not finish it before the lease ended.
    """

    stream: str
    group: str
    consumer: str
    position: int
    key: str
    body: bytes
    attempt: int
    taken_over: bool = False


@frozen
class DeadLetter:
    """A message that was given up.

    Attributes:
        id: unique on its bus.
        attempts: how many times it was handed out.
        at: when it was given up, in seconds since 1970.
    """

    id: str
    stream: str
    group: str
    position: int
    key: str
    body: bytes
    reason: str
    attempts: int
    at: float


@frozen(order=True)
class Backlog:
    """What a group has not finished, or all messages of a stream that has no group.

    Attributes:
        group: its name; "" if the stream has none.
        waiting: messages that were never handed out.
        pending: messages that are leased, wait for their next attempt, or for an earlier one of their key.
    """

    stream: str
    group: str
    waiting: int
    pending: int

    @property
    def depth(self) -> int:
        """All of them."""
        return self.waiting + self.pending


def batch_limit(limit: int, attempt: int, attempts: int) -> int:
    """Return how many messages a batch may have with one in it that was handed out ``attempt`` times before.

    A consumer that dies of a message takes its batch along, and nobody knows which one it was. So the batch is a
    quarter as large with each attempt, and in its last one a message is alone: none is given up for what another did.

    Args:
        limit: how many the consumer has asked for.
        attempts: after which a message is given up.
    """
    if attempt == 0:
        return limit
    return 1 if attempt >= attempts - 1 else max(1, limit // 4**attempt)


class BusServer(Protocol):
    """A server of one's own, for a bus that needs one."""

    @property
    def url(self) -> str:
        """The address of the bus."""

    @property
    def command(self) -> Sequence[str]:
        """The command line that runs it in the foreground, for those who supervise processes themselves."""

    def start(self) -> None:
        """Start it with what it has kept, and wait until it answers (EsperError E611 if it does not)."""

    def kill(self) -> None:
        """Kill it with SIGKILL, if it runs."""


class Bus(Protocol):
    """Keeps messages until every group has handled them.

    One bus may be used by several threads. All times are measured by one clock, that of the machine that keeps the
    messages, never by a consumer's. Every method raises `EsperError` E611 if the bus does not answer.
    """

    @property
    def survives(self) -> Survival:
        """What a published message survives."""

    @property
    def breaker(self) -> str:
        """``closed`` where all is well; ``open``: it is not asked at the moment; ``half-open``: it is tried."""

    def publish(self, stream: str, messages: Sequence[Outgoing]) -> Sequence[int]:
        """Add messages to a stream, all or none, and return their positions.

        They are kept as `survives` promises once it returns. If it raises, they may have been added.
        """

    def join(self, stream: str, group: str) -> None:
        """Make a group, if there is none; it begins with the oldest message that the stream still has."""

    def leave(self, stream: str, group: str) -> None:
        """Remove a group with all that it has not handled; what it has given up stays."""

    def receive(
        self, stream: str, group: str, consumer: str, *, limit: int, lease_seconds: float, attempts: int
    ) -> Sequence[Delivery]:
        """Lease at most ``limit`` messages to a consumer, and return them by position; joins the group if need be.

        First come messages whose lease or delay has ended, then new ones. With one that was handed out before, the
        batch has at most `batch_limit` messages. A message is not handed out as long as an earlier one of its key is
        leased, or waits for its next attempt. A message that was handed out ``attempts`` times, the last time to a
        consumer that let its lease end, is not handed out again but given up.
        """

    def renew(self, deliveries: Sequence[Delivery], *, lease_seconds: float) -> Sequence[Delivery]:
        """Extend leases from now on, and return those deliveries that were still leased to their consumer."""

    def acknowledge(self, deliveries: Sequence[Delivery]) -> int:
        """Finish messages that were handled. Return how many were still leased to their consumer; others are left."""

    def retry(self, delivery: Delivery, *, delay_seconds: float, counts: bool = True) -> bool:
        """Give a message back: hand it out again, to anybody, when the delay is over.

        ``counts=False`` takes the attempt back, for a message that was not looked at. Return whether it was still
        leased to its consumer.
        """

    def bury(self, delivery: Delivery, reason: str) -> bool:
        """Finish a message as a dead letter, in one step. Return whether it was still leased to its consumer."""

    def trim(self, stream: str, *, keep: int) -> int:
        """Drop the oldest messages beyond the newest ``keep``, but none that a group has not finished.

        Nothing is dropped as long as the stream has no group. Return how many were dropped.
        """

    def backlogs(self) -> Sequence[Backlog]:
        """Return what is not finished, by stream and group."""

    def tail(self, stream: str, count: int) -> Sequence[tuple[int, Outgoing]]:
        """Return the newest messages of a stream with their positions, in order."""

    def dead(self, count: int) -> Sequence[DeadLetter]:
        """Return the newest dead letters, oldest first."""

    def requeue(self, ids: Sequence[str]) -> int:
        """Hand dead letters out again, to the group that gave them up, with no attempts so far. Return how many."""

    def close(self) -> None:
        """Let go of files and connections. The bus cannot be used afterwards."""
