"""Subscribing: messages are verified, handed to the handler of their type, and acknowledged afterwards."""

import threading
import time
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
            self.metrics.gauge("breaker", self._bus.breaker)
        if deliveries:
            self.metrics.count("received", len(deliveries))
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
            refusal = refusal or (Refusal.FORGED if envelope.key != delivery.key else None)
            if refusal is None:
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
        #: Keys whose earlier message waits for its next attempt.
        self._waiting: set[str] = set()

    def handle(self) -> None:
        it = self._it
        rest = it._judged(self._deliveries)
        while rest:
            if time.monotonic() - self._leased_at > it._how.lease_seconds / 2 and not (rest := self._renewed(rest)):
                break
            (delivery, envelope), *rest = rest
            if delivery.key in self._waiting:
                it._bus.retry(delivery, delay_seconds=0.0, counts=False)
            else:
                self._handle_one(delivery, envelope)
        self._acknowledge()

    def _renewed(self, rest: list[tuple[Delivery, Envelope]]) -> list[tuple[Delivery, Envelope]]:
        """Acknowledge what is done, and return what is still leased."""
        self._acknowledge()
        now = time.monotonic()
        renewed = self._it._bus.renew([it for it, _ in rest], lease_seconds=self._it._how.lease_seconds)
        self._leased_at = now
        kept = {it.position for it in renewed}
        if lost := len(rest) - len(kept):
            self._it.metrics.count("leases_lost", lost)
        return [it for it in rest if it[0].position in kept]

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
            self._fail(delivery, summary(error))
        else:
            it.metrics.count("handled")
            it.metrics.time("handling_seconds", time.monotonic() - begun)
            it.metrics.time("delivery_seconds", it._clock() - envelope.issued_at.timestamp())
            self._done.append(delivery)

    def _fail(self, delivery: Delivery, reason: str) -> None:
        it = self._it
        it.metrics.count("failed")
        # What comes before it is finished first: a message of its key that is still leased would hold it back.
        self._acknowledge()
        if delivery.attempt >= it._how.attempts:
            it._bus.bury(delivery, reason)
            it.metrics.count("dead")
            return
        it._bus.retry(delivery, delay_seconds=it._how.delay_seconds(delivery.attempt))
        it.metrics.count("retried")
        if delivery.key:
            self._waiting.add(delivery.key)

    def _acknowledge(self) -> None:
        if self._done:
            finished = self._it._bus.acknowledge(self._done)
            if lost := len(self._done) - finished:
                self._it.metrics.count("leases_lost", lost)
            self._it.metrics.count("acknowledged", finished)
            self._done = []
