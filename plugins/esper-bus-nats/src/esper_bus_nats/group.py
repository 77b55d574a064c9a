"""What a group has not finished, as one record that is replaced as a whole; pure, without a server."""

import json
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from attrs import define, field

from esper_oona.api import Delivery, batch_limit

#: So many messages that waited for a key are let go at once.
_RELEASED = 100

#: So many messages wait for their keys at most, because the record has to fit into one message of NATS (1 MB). With so
#: many, nothing new is handed out until some are finished.
MOST_HELD = 40_000


@define
class Lease:
    """A message that was handed out, or can be handed out again.

    Attributes:
        key: of the message.
        consumer: who has it; "" for nobody.
        attempt: how many times it was handed out.
        due: when it can be handed out again, in seconds since 1970 by the server's clock.
        apart: it was requeued, and its body is kept apart from the stream, which may have dropped it.
    """

    key: str
    consumer: str
    attempt: int
    due: float
    apart: bool = False


@define
class GroupState:
    """The state of a group.

    Attributes:
        cursor: every message up to this position was handed out, or is held; it is finished unless it is in one of
            ``leases`` and ``held``.
        passed: how many messages the stream has had up to it.
        leases: what was handed out, or can be handed out again, by position.
        held: positions of messages that wait for an earlier one of their key, by key, in order.
    """

    cursor: int
    passed: int
    leases: dict[int, Lease] = field(factory=dict)
    held: dict[str, list[int]] = field(factory=dict)

    def copy(self) -> "GroupState":
        """Return a state that can be changed beside this one."""
        return GroupState(self.cursor, self.passed, dict(self.leases), {key: [*it] for key, it in self.held.items()})

    @property
    def pending(self) -> int:
        """How many messages were handed out or are held, and are not finished."""
        return len(self.leases) + self.held_count

    @property
    def held_count(self) -> int:
        """How many messages wait for an earlier one of their key."""
        return sum(map(len, self.held.values()))

    @property
    def first_unfinished(self) -> int:
        """The first position that is not finished, or was never handed out."""
        return min([self.cursor + 1, *self.leases, *(it[0] for it in self.held.values())])

    def ready(self, now: float, limit: int, attempts: int) -> tuple[list[int], list[int]]:
        """Return what can be handed out again, and what was handed out ``attempts`` times and is to be given up."""
        taken: list[int] = []
        spent: list[int] = []
        most = limit
        for position in self._due(now):
            attempt = self.leases[position].attempt
            if len(taken) >= most:
                break
            if attempt >= attempts:
                spent.append(position)
            elif len(taken) < (most := min(most, batch_limit(limit, attempt, attempts))):
                taken.append(position)
            else:
                break
        return taken, spent

    def _due(self, now: float) -> Iterator[int]:
        """Yield positions in order, none behind one of its key that is leased or waits."""
        blocked: set[str] = set()
        for position in sorted(self.leases):
            it = self.leases[position]
            if it.due > now:
                blocked.add(it.key)
            elif not it.key or it.key not in blocked:
                yield position

    def room(self, limit: int, attempts: int, taken: Collection[int]) -> int:
        """Return how many new messages may be read, beside those that are taken again."""
        most = min([limit, *(batch_limit(limit, self.leases[it].attempt, attempts) for it in taken)])
        return min(most - len(taken), MOST_HELD - self.held_count)

    def admit(self, new: Iterable[tuple[int, str]]) -> list[int]:
        """Move the cursor over new messages (position and key), and return those that nothing holds back."""
        busy = {it.key for it in self.leases.values()} | set(self.held)
        free: list[int] = []
        for position, key in new:
            self.cursor = position
            if key and key in busy:
                self.held.setdefault(key, []).append(position)
            else:
                free.append(position)
                self.leases[position] = Lease(key, "", 0, 0.0)
        return free

    def lease(self, positions: Iterable[int], consumer: str, due: float) -> None:
        """Hand messages out."""
        for position in positions:
            it = self.leases[position]
            self.leases[position] = Lease(it.key, consumer, it.attempt + 1, due, it.apart)

    def owned(self, delivery: Delivery) -> Lease | None:
        """Return the lease of a delivery, unless somebody else has it by now."""
        it = self.leases.get(delivery.position)
        same = it is not None and (it.consumer, it.attempt) == (delivery.consumer, delivery.attempt)
        return it if same else None

    def renew(self, position: int, due: float) -> None:
        """Extend a lease."""
        it = self.leases[position]
        self.leases[position] = Lease(it.key, it.consumer, it.attempt, due, it.apart)

    def give_back(self, position: int, attempt: int, due: float) -> None:
        """Let a message be handed out again, with so many attempts so far."""
        it = self.leases[position]
        self.leases[position] = Lease(it.key, "", attempt, due, it.apart)

    def requeue(self, position: int, key: str) -> None:
        """Let a message that was given up be handed out again."""
        self.leases.setdefault(position, Lease(key, "", 0, 0.0, apart=True))

    def finish(self, positions: Iterable[int]) -> None:
        """Take messages out, and let go of what their keys have held back."""
        for key in {self.leases.pop(position).key for position in positions}:
            if key in self.held and all(it.key != key for it in self.leases.values()):
                waiting = self.held.pop(key)
                for position in waiting[:_RELEASED]:
                    self.leases[position] = Lease(key, "", 0, 0.0)
                if rest := waiting[_RELEASED:]:
                    self.held[key] = rest


def encoded(state: GroupState) -> bytes:
    """Return a state as bytes."""
    rows: list[list[Any]] = [
        [at, it.key, it.consumer, it.attempt, it.due, int(it.apart)] for at, it in state.leases.items()
    ]
    return json.dumps(
        {"cursor": state.cursor, "passed": state.passed, "leases": rows, "held": state.held}, separators=(",", ":")
    ).encode()


def decoded(data: bytes) -> GroupState:
    """Return the state that `encoded` has written."""
    found = json.loads(data)
    leases = {at: Lease(key, consumer, n, due, bool(apart)) for at, key, consumer, n, due, apart in found["leases"]}
    return GroupState(found["cursor"], found["passed"], leases, found["held"])
