"""Publishing without waiting: messages are handed over, and sent by a thread of the publisher's own."""

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from itertools import islice
from time import monotonic

from attrs import frozen

from esper_core.leyline.errors import EsperError, summary
from esper_leyline_proto.envelope import MessageType
from esper_messaging.delivery import PRESSURE, WHEN_AWAY, BusChange, BusState, Counts, WhenAway, type_name
from esper_messaging.outbox import Outbox
from esper_messaging.sending import BATCH, send_batch
from esper_oona.api import LARGEST_BYTES, Bus, Draft, Publisher, Signer

#: So many messages that are only counted wait in memory at most, and so many that are not written down yet.
CAPACITY = 1_000

#: A message waits so long for others, so that few calls of the bus take many.
LINGER_SECONDS = 0.05

#: A bus that does not answer is asked again after the first of these seconds, and after at most the last.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0

#: Makes the messages of one thing that happened. It is called in the publisher's thread.
Make = Callable[[], Iterable[Draft]]


@frozen
class _Waiting:
    type: MessageType
    make: Make


class BackgroundPublisher:
    """Publishes to one bus in a thread of its own. `put` never waits for the bus, and never raises.

    Args:
        open_bus: opens the bus; called again as long as it raises E611.
        signer: signs every message.
        outbox: for what `WHEN_AWAY` keeps.
        name: who publishes, for those who read.
        bus: the bus, where it is open already.
        changed: is told in the publisher's thread what becomes of the bus, and what it raised last.
        capacity: messages that wait in memory at most: that many that are counted, and that many that are kept.
    """

    def __init__(
        self,
        open_bus: Callable[[], Bus],
        signer: Signer,
        outbox: Outbox,
        *,
        name: str = "",
        bus: Bus | None = None,
        changed: Callable[[BusChange, str], None] = lambda change, why: None,
        capacity: int = CAPACITY,
    ) -> None:
        self._open_bus = open_bus
        self._signer = signer
        self._outbox = outbox
        self._name = name
        self._told = changed
        self._capacity = capacity
        self._bus = bus
        self._publisher: Publisher | None = None
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._to_keep: deque[_Waiting] = deque()
        self._to_send: deque[_Waiting] = deque()
        self._made: deque[Draft] = deque()  # of `_to_send`, in the thread alone
        self._state = BusState.CONNECTED
        self._again_at, self._pause = 0.0, FIRST_PAUSE
        self._sent: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._outages = 0
        self._opened_told = False
        self._last_error: str | None = None
        self._may_hold_more = True  # the outbox
        self._closing = self._closed = False
        self._thread = threading.Thread(target=self._work, name="esper-bus", daemon=True)
        self._thread.start()

    def put(self, type: MessageType, make: Make) -> None:
        """Hand a message over; what `make` raises is counted, and the message is dropped."""
        with self._changed:
            queue = self._to_keep if WHEN_AWAY[type] is WhenAway.KEEP else self._to_send
            if self._closing:
                self._drop(type, "the publisher was closed")
                return
            if len(queue) >= self._capacity:
                self._drop(queue.popleft().type, f"{self._capacity} messages were waiting")
            queue.append(_Waiting(type, make))
            # The thread is not woken up in vain: it lingers, or waits for the bus to come back.
            if len(queue) in (1, BATCH) and (queue is self._to_keep or self._state is BusState.CONNECTED):
                self._changed.notify_all()

    @property
    def lost(self) -> int:
        """How many messages were dropped so far."""
        with self._changed:
            return self._dropped.total()

    @property
    def metrics(self) -> dict[str, float | str]:
        """What it has done, by name, with its latencies in seconds; see docs/bus.md."""
        found: dict[str, float | str] = {}
        if self._publisher is not None:
            for name, value in self._publisher.metrics.snapshot().items():
                if isinstance(value, dict):
                    found |= {f"{name}.{share}": value[share] for share in ("p50", "p99") if value[share] is not None}
                else:
                    found[name] = value
        with self._changed:
            waiting = len(self._to_keep) + len(self._to_send)
            found |= {"waiting": waiting, "lost": self._dropped.total(), "outages": self._outages}
        return found | {"breaker": self._breaker(), "degraded": float(self._state is BusState.DEGRADED)}

    def counts(self) -> Counts:
        """Return what became of the messages so far."""
        with self._changed:
            return Counts(
                state=self._state,
                sent=dict(sorted(self._sent.items())),
                dropped=dict(sorted(self._dropped.items())),
                kept=0 if self._closed else self._outbox.known_depth(),
                outages=self._outages,
                last_error=self._last_error,
            )

    def close(self, seconds: float) -> Counts:
        """Send what is left, and return what became of all messages.

        It takes no longer than these seconds, and with a bus that does not answer no time at all: what is kept is in
        the outbox then, and the rest is counted.
        """
        end = monotonic() + seconds
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            while self._thread.is_alive() and self._state is BusState.CONNECTED and (left := end - monotonic()) > 0:
                self._changed.wait(min(left, 0.05))
        self.write_down()
        with self._changed:
            for type in [*(it.type for it in self._to_send), *(it.type for it in self._made)]:
                self._drop(type, None)
            self._to_send.clear()
            counts = self.counts()
            self._closed = True
        # A thread that is in a call of the bus may still be there; what it does from now on counts for nothing.
        self._outbox.close()
        if self._bus is not None:
            self._bus.close()
        return counts

    def _drop(self, type: MessageType, why: str | None) -> None:
        """Count a message that is lost; called with the lock."""
        self._dropped[type_name(type)] += 1
        self._last_error = self._last_error if why is None else f"a {type_name(type)} was dropped: {why}"

    def _breaker(self) -> str:
        return "open" if self._bus is None else self._bus.breaker

    def _work(self) -> None:
        while not self._closed:
            with self._changed:
                self._changed.wait_for(self._has_work, None if self._is_idle() else self._again_at - monotonic())
                self._changed.wait_for(lambda: self._closing or self._has_batch(), LINGER_SECONDS)
                closing = self._closing
            self.write_down()
            if monotonic() >= self._again_at:
                self._try_to_send()
            with self._changed:
                pauses = self._state is BusState.DEGRADED or monotonic() < self._again_at
                if closing and (pauses or self._is_idle()):
                    return

    def _is_idle(self) -> bool:
        return not (self._to_send or self._made or self._may_hold_more)

    def _has_work(self) -> bool:
        return bool(self._to_keep or self._closing or (not self._is_idle() and monotonic() >= self._again_at))

    def _has_batch(self) -> bool:
        return max(len(self._to_keep), len(self._to_send)) >= BATCH

    def write_down(self) -> None:
        """Put what must not be lost into the outbox, in order; it outlives the process from then on. Any thread may."""
        with self._writing:
            with self._changed:
                waiting = [*self._to_keep]
                self._to_keep.clear()
            drafts = [draft for it in waiting for draft in self._drafts(it)]
            if not drafts:
                return
            try:
                self._outbox.keep(drafts)
                self._may_hold_more = True
            except EsperError as error:
                with self._changed:
                    for draft in drafts:
                        self._drop(draft.type, str(error))

    def _drafts(self, waiting: _Waiting) -> list[Draft]:
        """Make messages; one that cannot be made, or is too large, is lost, and counted."""
        try:
            made = [*waiting.make()]
        except Exception as error:  # whatever a record holds is no reason to end the thread
            with self._changed:
                self._drop(waiting.type, summary(error))
            return []
        fitting = [draft for draft in made if len(draft.payload) <= LARGEST_BYTES]
        for _ in range(len(made) - len(fitting)):
            with self._changed:
                self._drop(waiting.type, f"it has more than {LARGEST_BYTES} bytes")
        return fitting

    def _try_to_send(self) -> None:
        try:
            publisher = self._opened()
            room = self._send_kept(publisher)
            self._send_counted(publisher)
        except Exception as error:  # a bus of a third party's may raise anything, and the thread must live
            self._away(str(error) if isinstance(error, EsperError) else summary(error))
        else:
            self._answered(room)

    def _opened(self) -> Publisher:
        if self._bus is None:
            self._bus = self._open_bus()
        if self._publisher is None:
            self._publisher = Publisher(self._bus, self._signer, name=self._name, pressure=PRESSURE)
        return self._publisher

    def _send_kept(self, publisher: Publisher) -> bool:
        """Send what is in the outbox. Return whether there was room for it."""
        while not self._closed:
            sent, full = send_batch(self._outbox, publisher)
            with self._changed:
                self._sent.update(map(type_name, sent))
                if full:
                    self._last_error = f"{full} messages wait in the outbox: their stream is full"
                    return False
            if not sent:
                break
        self._may_hold_more = False
        return True

    def _send_counted(self, publisher: Publisher) -> None:
        while not self._closed and (some := self._some_made()):
            done = publisher.publish(some)
            with self._changed:
                for _ in some:
                    self._made.popleft()
                self._sent.update(type_name(it.type) for it in some if it.id in done.sent)
                for draft in some:
                    if draft.id not in done.sent:
                        self._drop(draft.type, "its stream is full")

    def _some_made(self) -> list[Draft]:
        while len(self._made) < BATCH:
            with self._changed:
                if not self._to_send:
                    break
                waiting = self._to_send.popleft()
            self._made.extend(self._drafts(waiting))
        return [*islice(self._made, BATCH)]

    def _away(self, why: str) -> None:
        with self._changed:
            begins, self._state = self._state is BusState.CONNECTED, BusState.DEGRADED
            self._last_error = why
            self._outages += begins
            self._wait_a_while()
            opens = self._breaker() == "open" and not self._opened_told
            self._opened_told |= opens
        if begins and not self._closed:
            self._told(BusChange.AWAY, why)
        if opens and not self._closed:
            self._told(BusChange.BREAKER_OPENED, why)

    def _answered(self, room: bool) -> None:
        with self._changed:
            again, self._state = self._state is BusState.DEGRADED, BusState.CONNECTED
            self._opened_told = False
            if room:
                self._pause = FIRST_PAUSE
            else:
                self._wait_a_while()
        if again and not self._closed:
            self._told(BusChange.BACK, "")

    def _wait_a_while(self) -> None:
        """Let the bus alone for a time that doubles; called with the lock."""
        self._again_at = monotonic() + self._pause
        self._pause = min(LONGEST_PAUSE, 2.0 * self._pause)
        self._changed.notify_all()
