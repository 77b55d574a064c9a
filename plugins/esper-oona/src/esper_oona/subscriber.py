"""Subscribing: messages are verified, handed to the handler of their type, and acknowledged afterwards."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from attrs import evolve, field, frozen, validators

from esper_core.leyline.errors import EsperError, summary
from esper_leyline_proto.conversion import from_bytes
from esper_leyline_proto.envelope import Envelope, MessageType
from esper_oona.bus import Bus, Delivery
from esper_oona.metrics import Metrics
from esper_oona.replays import Accepted, Replays
from esper_oona.signing import Refusal, Signer, expires_at

Handler = Callable[[Envelope], None]


@frozen(kw_only=True)
class Subscription:
    """How a consumer takes messages.

    Attributes:
        batch: how many messages are leased at once.
        lease_seconds: for how long. It is renewed between two messages; handling one must not take longer.
        attempts: a message is given up after so many.
        first_delay_seconds: the delay before the second attempt; it doubles with each one.
        longest_delay_seconds: up to this.
        idle_seconds: how long to wait where there was nothing.
    """

    batch: int = field(default=100, validator=[validators.ge(1), validators.le(100)])
    lease_seconds: float = field(default=30.0, validator=validators.gt(0.0))
    attempts: int = field(default=5, validator=validators.ge(1))
    first_delay_seconds: float = field(default=0.1, validator=validators.ge(0.0))
    longest_delay_seconds: float = field(default=30.0, validator=validators.ge(0.0))
    idle_seconds: float = field(default=0.02, validator=validators.gt(0.0))

    def delay_seconds(self, attempt: int) -> float:
        """Return the delay after this attempt has failed."""
        return min(self.longest_delay_seconds, self.first_delay_seconds * 2.0 ** min(attempt - 1, 60))


class Subscriber:
    """One consumer of a group: takes messages from a stream, and has them handled.

    Args:
        bus: where from.
        stream: the stream.
        group: the consumers that share the work; every group is given every message.
        consumer: unique among those that live; a process that starts again should have another name.
        handlers: by type of message. Messages of other types are acknowledged and left.
        signer: verifies every message.
        replays: what the group has accepted.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        bus: Bus,
        stream: str,
        group: str,
        consumer: str,
        handlers: Mapping[MessageType, Handler],
        *,
        signer: Signer,
        replays: Replays,
        subscription: Subscription | None = None,
        clock: Callable[[], float] = time.time,
        metrics: Metrics | None = None,
    ) -> None:
        self.metrics = metrics or Metrics()
        self._bus, self._stream, self._group, self._consumer = bus, str(stream), group, consumer
        self._handlers = dict(handlers)
        self._signer = signer
        self._replays = replays
        self._how = subscription or Subscription()
        self._clock = clock

    def run(self, stop: threading.Event) -> None:
        """Take messages until asked to stop; a bus that does not answer is asked again."""
        while not stop.is_set():
            try:
                found = self.poll()
            except EsperError as error:
                if error.code != "E611":
                    raise
                self.metrics.count("receive_errors")
                found = 0
            if not found:
                stop.wait(self._how.idle_seconds)

    def poll(self) -> int:
        """Take one batch, handle it and acknowledge it. Return how many messages there were.

        What a handler raises is the message's failure, not the subscriber's, unless it is no `Exception`. Then the
        messages stay leased, and are handed out again when the lease ends.

        Raises:
            EsperError: E611 if the bus does not answer.
        """
        leased_at = time.monotonic()
        try:
            deliveries = self._bus.receive(
                self._stream,
                self._group,
                self._consumer,
                limit=self._how.batch,
                lease_seconds=self._how.lease_seconds,
                attempts=self._how.attempts,
            )
        finally:
            self.metrics.breaker(self._bus.breaker)
        if deliveries:
            self.metrics.count("received", len(deliveries))
            if taken_over := sum(it.taken_over for it in deliveries):
                self.metrics.count("taken_over", taken_over)
            _Batch(self, deliveries, leased_at).handle()
        return len(deliveries)

    def _judged(self, deliveries: Sequence[Delivery]) -> list[tuple[Delivery, Envelope]]:
        """Return what may be handled; the rest becomes dead letters."""
        now = self._clock()
        genuine: list[tuple[Delivery, Envelope]] = []
        for delivery in deliveries:
            try:
                envelope = from_bytes(Envelope, delivery.body)
            except EsperError:
                self._refuse(delivery, Refusal.UNREADABLE)
                continue
            if envelope.attempt != delivery.attempt - 1:
                envelope = evolve(envelope, attempt=delivery.attempt - 1)
            refusal = self._signer.refusal(envelope, now)
            # The bus's key is not signed, and decides the order.
            if refusal in (None, Refusal.STALE) and envelope.key != delivery.key:
                refusal = Refusal.FORGED
            # What nobody here would have read cannot have come too late.
            if refusal is None or (refusal is Refusal.STALE and envelope.type not in self._handlers):
                genuine.append((delivery, envelope))
            else:
                self._refuse(delivery, refusal)
        skew = self._signer.skew_seconds
        accepted = [Accepted(it.id, f"{at.stream}:{at.position}", expires_at(it) + skew) for at, it in genuine]
        admitted = self._replays.admit(self._group, accepted, now) if accepted else []
        for (delivery, _), first in zip(genuine, admitted, strict=True):
            if not first:
                self._refuse(delivery, Refusal.REPLAYED)
        return [it for it, first in zip(genuine, admitted, strict=True) if first]

    def _refuse(self, delivery: Delivery, refusal: Refusal) -> None:
        self.metrics.count(f"refused.{refusal}")
        self._bus.bury(delivery, f"refused: {refusal}")


class _Batch:
    """The deliveries of one call of `receive`."""

    def __init__(self, subscriber: Subscriber, deliveries: Sequence[Delivery], leased_at: float) -> None:
        self._it = subscriber
        self._deliveries = deliveries
        self._leased_at = leased_at
        self._done: list[Delivery] = []
        #: Of each message that was handled, how long that took, and how long it was under way.
        self._handled: list[tuple[float, float]] = []
        self._failed: list[tuple[Delivery, str]] = []
        #: Messages behind one of their key that has failed.
        self._behind: list[Delivery] = []

    def handle(self) -> None:
        it = self._it
        rest = deque(it._judged(self._deliveries))
        try:
            while rest:
                if time.monotonic() - self._leased_at > it._how.lease_seconds / 2 and not (rest := self._renewed(rest)):
                    break
                delivery, envelope = rest.popleft()
                if delivery.key and any(delivery.key == failed.key for failed, _ in self._failed):
                    self._behind.append(delivery)
                else:
                    self._handle_one(delivery, envelope)
        finally:
            it.metrics.count("handled", len(self._handled))
            it.metrics.time_all("handling_seconds", [handling for handling, _ in self._handled])
            it.metrics.time_all("delivery_seconds", [delivery for _, delivery in self._handled])
        self._acknowledge()
        # Other messages do not wait for this. What comes before is finished, as it would hold these back.
        for delivery, reason in self._failed:
            self._fail(delivery, reason)
        for delivery in self._behind:
            it._bus.retry(delivery, delay_seconds=0.0, counts=False)

    def _renewed(self, rest: deque[tuple[Delivery, Envelope]]) -> deque[tuple[Delivery, Envelope]]:
        """Acknowledge what is done, and return what is still leased."""
        self._acknowledge()
        now = time.monotonic()
        held = [*(it for it, _ in rest), *(it for it, _ in self._failed), *self._behind]
        renewed = self._it._bus.renew(held, lease_seconds=self._it._how.lease_seconds)
        self._leased_at = now
        kept = {it.position for it in renewed}
        if lost := len(held) - len(kept):
            self._it.metrics.count("leases_lost", lost)
        return deque(it for it in rest if it[0].position in kept)

    def _handle_one(self, delivery: Delivery, envelope: Envelope) -> None:
        it = self._it
        handler = it._handlers.get(envelope.type)
        if handler is None:
            it.metrics.count("skipped")
            self._done.append(delivery)
            return
        begun = time.monotonic()
        try:
            handler(envelope)
        except Exception as error:
            it.metrics.count("failed")
            self._failed.append((delivery, summary(error)))
        else:
            self._handled.append((time.monotonic() - begun, it._clock() - envelope.issued_at.timestamp()))
            self._done.append(delivery)

    def _fail(self, delivery: Delivery, reason: str) -> None:
        it = self._it
        if delivery.attempt >= it._how.attempts:
            it._bus.bury(delivery, reason)
            it.metrics.count("dead")
            return
        it._bus.retry(delivery, delay_seconds=it._how.delay_seconds(delivery.attempt))
        it.metrics.count("retried")

    def _acknowledge(self) -> None:
        if self._done:
            finished = self._it._bus.acknowledge(self._done)
            if lost := len(self._done) - finished:
                self._it.metrics.count("leases_lost", lost)
            self._it.metrics.count("acknowledged", finished)
            self._done = []
