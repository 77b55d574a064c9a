"""Publishing: messages are signed, routed by type, held back where consumers do not keep up, and counted."""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from attrs import field, frozen

from esper_core.leyline.errors import EsperError
from esper_leyline_proto.conversion import to_bytes
from esper_leyline_proto.envelope import Envelope, MessagePriority, MessageType
from esper_oona.bus import Bus, Outgoing
from esper_oona.messages import LARGEST_BYTES, LIFETIMES, ROUTES, Stream
from esper_oona.metrics import Metrics
from esper_oona.pressure import Pressure, TokenBucket, WhenFull
from esper_oona.signing import Signer

#: So many messages are added to a stream at once.
BATCH = 100

#: The bits of a UUID that say its version (7) and its variant, and those that are left for chance.
_VERSION, _CHANCE = 0x7 << 76 | 0x2 << 62, (1 << 80) - 1 - (0xF << 76) - (0x3 << 62)


def _new_id() -> str:
    """Return what no other message has: a UUID that begins with the time (version 7, RFC 9562).

    What is published together is side by side in an index then, such as that of `Replays`.
    """
    milliseconds, chance = time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10))
    return f"{milliseconds << 80 | _VERSION | chance & _CHANCE:032x}"


@frozen(kw_only=True)
class Draft:
    """A message that is to be published.

    Attributes:
        key: messages of one key are handled in order; "" is no key.
        lifetime_seconds: for how long it may be handled, at most what `LIFETIMES` says, which is the default.
        id: unique; give it where the same message may be published again, which is then handled once.
    """

    type: MessageType
    payload: bytes = field(repr=lambda value: f"<{len(value)} bytes>")
    key: str = ""
    priority: MessagePriority = MessagePriority.NORMAL
    lifetime_seconds: float | None = None
    id: str = field(factory=_new_id)


@frozen
class Published:
    """What became of drafts.

    Attributes:
        sent: the ids of those that the bus has, with their stream and position, in the order of the drafts.
        dropped: the ids of those that were dropped because a stream is full.
    """

    sent: Mapping[str, tuple[Stream, int]]
    dropped: tuple[str, ...] = ()


class Publisher:
    """Publishes to one bus. It may be used by several threads.

    Args:
        bus: where to.
        signer: signs every message.
        name: who publishes, for those who read.
        pressure: the policy by stream; other streams have the default one. The emergency stream has none.
        emergencies: how many critical messages a minute go through the emergency stream. Those beyond take the route of
            their type; emergency signals then take that of commands.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        bus: Bus,
        signer: Signer,
        *,
        name: str = "",
        pressure: Mapping[Stream, Pressure] | None = None,
        emergencies: TokenBucket | None = None,
        clock: Callable[[], float] = time.time,
        metrics: Metrics | None = None,
    ) -> None:
        self.metrics = metrics or Metrics()
        self._bus = bus
        self._signer = signer
        self._name = name
        self._pressure = dict(pressure or {})
        self._emergencies = emergencies or TokenBucket(120)
        self._clock = clock
        self._lock = threading.Lock()
        self._depths: dict[Stream, int] = {}
        self._sampled = float("-inf")

    def publish(self, drafts: Sequence[Draft]) -> Published:
        """Publish messages; those of one stream in order, in batches that are added all or none.

        Raises:
            EsperError: E611 if the bus does not answer, E613 if a stream is full and the policy is not to drop. Some
                messages may have been published then: publish the same drafts again, and each is handled once.
            ValueError: if a message is too large, or is to live for longer than its type may.
        """
        routed: dict[Stream, list[Envelope]] = {}
        for draft in drafts:
            envelope = self._signer.sign(self._envelope(draft))
            routed.setdefault(self._route(envelope), []).append(envelope)
        sent: dict[str, tuple[Stream, int]] = {}
        dropped: list[str] = []
        for stream, envelopes in routed.items():
            for first in range(0, len(envelopes), BATCH):
                batch = envelopes[first : first + BATCH]
                if stream is Stream.EMERGENCY or self._has_room(stream, len(batch)):
                    sent |= self._send(stream, batch)
                else:
                    self.metrics.count("dropped", len(batch))
                    dropped += [envelope.id for envelope in batch]
        return Published(
            {draft.id: sent[draft.id] for draft in drafts if draft.id in sent},
            tuple(dropped),
        )

    def _envelope(self, draft: Draft) -> Envelope:
        longest = LIFETIMES[draft.type]
        lifetime = longest if draft.lifetime_seconds is None else draft.lifetime_seconds
        if not 0 < lifetime <= longest:
            raise ValueError(f"a {draft.type.name} lives for at most {longest:g} seconds, not {lifetime:g}")
        if len(draft.payload) > LARGEST_BYTES:
            raise ValueError(f"a message has at most {LARGEST_BYTES} bytes, not {len(draft.payload)}")
        now = self._clock()
        return Envelope(
            id=draft.id,
            type=draft.type,
            issued_at=datetime.fromtimestamp(now, UTC),
            expires_at=datetime.fromtimestamp(now + lifetime, UTC),
            priority=draft.priority,
            key=draft.key,
            producer=self._name,
            payload=draft.payload,
            key_id=self._signer.key_id,
        )

    def _route(self, envelope: Envelope) -> Stream:
        route = ROUTES[envelope.type]
        if route is not Stream.EMERGENCY and envelope.priority is not MessagePriority.CRITICAL:
            return route
        with self._lock:
            if self._emergencies.take():
                return Stream.EMERGENCY
        self.metrics.count("emergencies_demoted")
        return Stream.NORMAL if route is Stream.EMERGENCY else route

    def _send(self, stream: Stream, envelopes: Sequence[Envelope]) -> dict[str, tuple[Stream, int]]:
        begun = time.monotonic()
        try:
            positions = self._bus.publish(stream, [Outgoing(it.key, to_bytes(it)) for it in envelopes])
        except EsperError:
            self.metrics.count("publish_errors")
            raise
        finally:
            self.metrics.breaker(self._bus.breaker)
        self.metrics.count("published", len(envelopes))
        self.metrics.count(f"published.{stream}", len(envelopes))
        self.metrics.time("publish_seconds", time.monotonic() - begun)
        with self._lock:
            self._depths[stream] = self._depths.get(stream, 0) + len(envelopes)
        return {it.id: (stream, position) for it, position in zip(envelopes, positions, strict=True)}

    def _has_room(self, stream: Stream, count: int) -> bool:
        """Whether to send; False means to drop."""
        policy = self._pressure.get(stream, Pressure())
        deadline = time.monotonic() + policy.wait_seconds
        while (depth := self._depth(stream, policy)) + count > max(policy.limit, count):
            self.metrics.count(f"full.{stream}")
            if policy.when_full is WhenFull.DROP:
                return False
            if policy.when_full is WhenFull.REFUSE or time.monotonic() >= deadline:
                what = f'the stream "{stream}" is full: {depth} messages are not finished, its limit is {policy.limit}'
                fix = "start more consumers, or look with `esper bus ls` which group does not keep up"
                raise EsperError("E613", what, fix=fix)
            threading.Event().wait(min(0.01, policy.wait_seconds))
            self._sampled = float("-inf")
        return True

    def _depth(self, stream: Stream, policy: Pressure) -> int:
        with self._lock:
            if time.monotonic() - self._sampled <= policy.sample_seconds:
                return self._depths.get(stream, 0)
        depths: dict[Stream, int] = {}
        for backlog in self._bus.backlogs():
            if backlog.stream in set(Stream):
                name = Stream(backlog.stream)
                depths[name] = max(depths.get(name, 0), backlog.depth)
        with self._lock:
            self._depths, self._sampled = depths, time.monotonic()
            for name, depth in depths.items():
                self.metrics.gauge(f"depth.{name}", depth)
            return depths.get(stream, 0)
