"""Messages that must not be lost while a bus is away: the log of esper-bus-sqlite, in a file of the state directory."""

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from attrs import frozen

from esper_bus_sqlite.log import MessageLog
from esper_core.leyline.errors import EsperError
from esper_leyline_proto.conversion import from_bytes, to_bytes
from esper_leyline_proto.envelope import Envelope
from esper_oona.api import Delivery, Draft, Outgoing, Survival

_FILE, _GROUP = "outbox.sqlite", "sender"

#: Nobody's death makes a message a dead letter: it is tried until the bus takes it.
_ATTEMPTS = 2**31 - 1

#: A sender that dies leaves its messages to the next one after this time.
LEASE_SECONDS = 30.0


@frozen
class Kept:
    """A message that was taken from the outbox to be sent."""

    delivery: Delivery
    draft: Draft


class Outbox:
    """The messages for one bus that it has not confirmed. Several processes and threads may use it.

    Args:
        state: the state directory, which holds the file ``outbox.sqlite``.
        address: of the bus. Messages for another address are apart.
        sender: unique among the senders that live.

    Raises:
        EsperError: E611 if the file cannot be used.
    """

    def __init__(self, state: Path, address: str, sender: str) -> None:
        self._log = MessageLog(state / _FILE, survives=Survival.SERVER, synchronous="NORMAL")
        # An address may hold what others must not read.
        self._stream = f"to-{sha256(address.encode()).hexdigest()[:16]}"
        self._sender = sender
        self._log.join(self._stream, _GROUP)

    def keep(self, drafts: Sequence[Draft]) -> None:
        """Write messages down, all or none. Raises EsperError E611 if the file cannot be written."""
        self._log.publish(self._stream, [self._outgoing(draft) for draft in drafts])

    def take(self, limit: int) -> list[Kept]:
        """Lease messages, those of one key in order; no other sender has them until they are given back."""
        deliveries = self._log.receive(
            self._stream, _GROUP, self._sender, limit=limit, lease_seconds=LEASE_SECONDS, attempts=_ATTEMPTS
        )
        found = []
        for delivery in deliveries:
            try:
                found.append(Kept(delivery, _draft(from_bytes(Envelope, delivery.body))))
            except EsperError as error:
                self._log.bury(delivery, str(error))
        return found

    def confirm(self, sent: Sequence[Kept]) -> None:
        """Remove messages that the bus has."""
        self._log.acknowledge([it.delivery for it in sent])
        self._log.trim(self._stream, keep=0)

    def give_back(self, unsent: Sequence[Kept]) -> None:
        """Leave messages to the next sender."""
        for it in unsent:
            self._log.retry(it.delivery, delay_seconds=0.0, counts=False)

    def depth(self) -> int:
        """Return how many messages there are."""
        return max((it.depth for it in self._log.backlogs() if it.stream == self._stream), default=0)

    def known_depth(self) -> int | None:
        """Return how many messages there are; None if the file cannot be read."""
        try:
            return self.depth()
        except EsperError:
            return None

    def elsewhere(self) -> int:
        """Return how many messages there are for other addresses."""
        return sum(it.depth for it in self._log.backlogs() if it.stream != self._stream)

    def close(self) -> None:
        """Close the file."""
        self._log.close()

    def _outgoing(self, draft: Draft) -> Outgoing:
        envelope = Envelope(
            id=draft.id,
            type=draft.type,
            issued_at=datetime.now(UTC),
            priority=draft.priority,
            key=draft.key,
            payload=draft.payload,
        )
        return Outgoing(draft.key, to_bytes(envelope))


def _draft(envelope: Envelope) -> Draft:
    return Draft(
        type=envelope.type,
        payload=envelope.payload,
        key=envelope.key,
        priority=envelope.priority,
        id=envelope.id,
    )
