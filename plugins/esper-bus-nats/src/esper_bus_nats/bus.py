"""The bus over JetStream: messages in streams, and what groups have not finished in records beside them."""

import json
from collections.abc import Sequence

from esper_bus_nats.config import SURVIVE, NatsConfig, connect_options
from esper_bus_nats.connection import Connection, Request
from esper_bus_nats.dead import PREFIX, letter_change, letter_of
from esper_bus_nats.durability import promised, require, settings
from esper_bus_nats.group import GroupState, Lease, decoded
from esper_bus_nats.groups import Groups, StreamState, stream_state
from esper_bus_nats.names import STREAMS, apart_subject, group_subject, groups_subject, stream_subject
from esper_bus_nats.packs import PLACES, End
from esper_bus_nats.server_api import ServerApi, tries
from esper_bus_nats.store import Change, Store
from esper_bus_nats.streams import Streams
from esper_core.api import EsperError
from esper_oona.api import Backlog, DeadLetter, Delivery, Outgoing

#: Begins the body of what was requeued: a record without data is none.
_APART = b"="

_GONE = "its message is no longer in the stream"


class NatsBus:
    """See `esper_oona.api.Bus`. All times are the server's.

    Raises:
        EsperError: E202 if the address holds a secret, E611 if the server does not answer, E612 if the file of a secret
            can be read by others, E614 if the server promises less than is asked for, E615 if it is too old.
    """

    def __init__(self, config: NatsConfig) -> None:
        self._connection = Connection(connect_options(config), config.timeout_seconds)
        asked = SURVIVE[config.survives]
        try:
            api = ServerApi(self._connection)
            self._store = Store(api, storage="memory" if config.survives == "process" else "file")
            known = settings(config.monitor, self._server_id(), config.timeout_seconds)
            self.survives = promised(self._store.storage, known)
            require(asked, self.survives)
        except EsperError:
            self._connection.close()
            raise
        self._groups, self._streams = Groups(self._store), Streams(api)

    def _server_id(self) -> str:
        reply = self._connection.ask(lambda: [Request("$SYS.REQ.USER.INFO")])
        return str(json.loads(reply.data).get("server", {}).get("id"))

    @property
    def breaker(self) -> str:
        """The state of the breaker in front of the server."""
        return self._connection.breaker

    def publish(self, stream: str, messages: Sequence[Outgoing]) -> Sequence[int]:
        """Add messages to a stream, all or none.

        Raises:
            ValueError: if there are more than 1,000, which a stream has no positions for.
        """
        if not messages:
            return []
        if len(messages) > PLACES:
            raise ValueError(f"at most {PLACES} messages are added all or none, not {len(messages)}")
        self._groups.open_stream(stream)
        return self._streams.publish(stream, messages)

    def join(self, stream: str, group: str) -> None:
        """Make a group, if there is none."""
        self._groups.join(stream, group)

    def leave(self, stream: str, group: str) -> None:
        """Remove a group with all that it has not handled."""
        self._groups.leave(stream, group)

    def receive(
        self, stream: str, group: str, consumer: str, *, limit: int, lease_seconds: float, attempts: int
    ) -> Sequence[Delivery]:
        """Lease messages to a consumer."""

        def step(state: GroupState) -> tuple[list[Delivery], list[Change]] | None:
            now = self._store.now()
            taken, spent = state.ready(now, limit, attempts)
            found = {at: self._kept(stream, group, at, state.leases[at]) for at in (*taken, *spent)}
            given_up = {at: f"its consumer died, or took too long, {state.leases[at].attempt} times" for at in spent}
            given_up |= {at: _GONE for at in taken if found[at] is None}
            letters = [
                _letter(stream, group, at, state.leases[at], found[at], reason, now) for at, reason in given_up.items()
            ]
            taken = [at for at in taken if at not in given_up]
            state.finish(given_up)
            new = self._streams.behind(stream, state.cursor, state.room(limit, attempts, taken))
            taken += state.admit((at, it.key) for _, at, it in new)
            if not (taken or letters or new):
                return None
            state.passed = new[-1][0].count(new[-1][1]) if new else state.passed
            before = {at: state.leases[at].consumer for at in taken}
            state.lease(taken, consumer, now + lease_seconds)
            bodies = {**found, **{at: it for _, at, it in new}}
            deliveries = [
                _delivery(stream, group, at, state.leases[at], bodies[at], before[at]) for at in sorted(taken)
            ]
            return deliveries, letters

        self._groups.open_stream(stream)
        found = self._groups.change(stream, group, step, fresh=True, join=True)
        return found[0] if found else []

    def _kept(self, stream: str, group: str, position: int, lease: Lease) -> Outgoing | None:
        if not lease.apart:
            return self._streams.message(stream, position)
        body = self._store.record(apart_subject(stream, group, position)).data
        return Outgoing(lease.key, body.removeprefix(_APART)) if body else None

    def renew(self, deliveries: Sequence[Delivery], *, lease_seconds: float) -> Sequence[Delivery]:
        """Extend leases."""
        kept: list[Delivery] = []
        for (stream, group), some in _by_group(deliveries).items():

            def step(state: GroupState, some: Sequence[Delivery] = some) -> tuple[list[Delivery], list[Change]] | None:
                owned = [it for it in some if state.owned(it)]
                due = self._store.now() + lease_seconds
                for it in owned:
                    state.renew(it.position, due)
                return (owned, []) if owned else None

            found = self._groups.change(stream, group, step)
            kept += found[0] if found else []
        return kept

    def acknowledge(self, deliveries: Sequence[Delivery]) -> int:
        """Finish messages that were handled."""
        return sum(self._finish(stream, group, some) for (stream, group), some in _by_group(deliveries).items())

    def _finish(self, stream: str, group: str, deliveries: Sequence[Delivery], reason: str | None = None) -> int:
        """Finish what is still leased, as dead letters if there is a reason, and return how many it was."""

        def step(state: GroupState) -> tuple[dict[int, Lease], list[Change]] | None:
            owned = {it.position: (it, lease) for it in deliveries if (lease := state.owned(it))}
            state.finish(owned)
            letters = []
            if reason is not None:
                now = self._store.now()
                letters = [_letter(stream, group, at, lease, it, reason, now) for at, (it, lease) in owned.items()]
            return ({at: lease for at, (_, lease) in owned.items()}, letters) if owned else None

        found = self._groups.change(stream, group, step)
        if found is None:
            return 0
        finished, revision = found
        if revision is not None:  # Else it may have been requeued since.
            for position in (at for at, it in finished.items() if it.apart):
                self._store.forget(apart_subject(stream, group, position), revision)
        return len(finished)

    def retry(self, delivery: Delivery, *, delay_seconds: float, counts: bool = True) -> bool:
        """Give a message back."""

        def step(state: GroupState) -> tuple[bool, list[Change]] | None:
            if state.owned(delivery) is None:
                return None
            state.give_back(delivery.position, delivery.attempt - (not counts), self._store.now() + delay_seconds)
            return True, []

        return self._groups.change(delivery.stream, delivery.group, step) is not None

    def bury(self, delivery: Delivery, reason: str) -> bool:
        """Finish a message as a dead letter."""
        return bool(self._finish(delivery.stream, delivery.group, [delivery], reason))

    def trim(self, stream: str, *, keep: int) -> int:
        """Drop the oldest messages that every group has finished."""
        for wait in tries("groups come and go"):
            records = self._store.read(stream_subject(stream), groups_subject(stream))
            record = records.pop(stream_subject(stream), None)
            unfinished = [decoded(it.data).first_unfinished for it in records.values() if it.data]
            if record is None or not unfinished:
                return 0
            state, end = stream_state(record), self._streams.end(stream)
            until = min(*unfinished, self._newest(stream, state, end, keep)[0])
            dropped = self._streams.count_before(stream, until) if until > state.floor + 1 else None
            if dropped is None or dropped <= state.dropped:
                return 0
            if self._groups.raise_floor(record, until - 1, dropped):
                if (number := min(until // PLACES, end.number)) > state.floor // PLACES:
                    self._streams.drop(stream, number)
                return dropped - state.dropped
            wait()
        raise AssertionError("the last try raises")

    def _newest(self, stream: str, state: StreamState, end: End, count: int) -> tuple[int, int]:
        """Return where the newest messages of a stream begin, and how many there are."""
        count = min(max(0, count), end.after - state.dropped)
        return self._streams.position_of(stream, end.after - count, state.floor // PLACES, end), count

    def backlogs(self) -> Sequence[Backlog]:
        """Return what is not finished, by stream and group."""
        records = self._store.read(stream_subject(None), groups_subject(None))
        found = []
        for state in (stream_state(it) for it in records.values() if it.subject.startswith(STREAMS)):
            after = self._streams.end(state.name).after
            for group in state.groups:
                own = decoded(records[group_subject(state.name, group)].data)
                found.append(Backlog(state.name, group, max(0, after - own.passed), own.pending))
            if not state.groups and after > state.dropped:
                found.append(Backlog(state.name, "", after - state.dropped, 0))
        return sorted(found)

    def tail(self, stream: str, count: int) -> Sequence[tuple[int, Outgoing]]:
        """Return the newest messages of a stream, in order."""
        record = self._store.record(stream_subject(stream))
        if not record.data:
            return []
        first, count = self._newest(stream, stream_state(record), self._streams.end(stream), count)
        return [(at, it) for _, at, it in self._streams.behind(stream, first - 1, count)]

    def dead(self, count: int) -> Sequence[DeadLetter]:
        """Return the newest dead letters, oldest first."""
        return [letter_of(it) for it in self._store.records(f"{PREFIX}>")][-count:]

    def requeue(self, ids: Sequence[str]) -> int:
        """Hand dead letters out again."""
        return sum(self._requeue(int(id)) for id in ids if id.isascii() and id.isdecimal())

    def _requeue(self, revision: int) -> int:
        record = self._store.by_revision(revision)
        if record is None or not record.subject.startswith(PREFIX) or not record.data:
            return 0
        it = letter_of(record)

        def step(state: GroupState) -> tuple[bool, list[Change]] | None:
            if self._store.by_revision(revision) is None:  # Somebody else was faster.
                return None
            state.requeue(it.position, it.key)
            apart = Change(apart_subject(it.stream, it.group, it.position), _APART + it.body)
            return True, [Change(record.subject, b"", revision), apart]

        found = self._groups.change(it.stream, it.group, step, join=True)
        if found is None:
            return 0
        if found[1] is not None:  # Else it may be a dead letter again.
            # Its place is empty since this change, in which it came second.
            self._store.forget(record.subject, found[1] + 1)
        return 1

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _delivery(stream: str, group: str, position: int, lease: Lease, message: Outgoing | None, before: str) -> Delivery:
    assert message is not None, "what is gone is not handed out"
    it = lease
    return Delivery(stream, group, it.consumer, position, it.key, message.body, it.attempt, bool(before))


def _letter(
    stream: str, group: str, position: int, lease: Lease, message: Outgoing | Delivery | None, reason: str, now: float
) -> Change:
    body = b"" if message is None else message.body
    return letter_change(DeadLetter("", stream, group, position, lease.key, body, reason, lease.attempt, now))


def _by_group(deliveries: Sequence[Delivery]) -> dict[tuple[str, str], list[Delivery]]:
    found: dict[tuple[str, str], list[Delivery]] = {}
    for it in deliveries:
        found.setdefault((it.stream, it.group), []).append(it)
    return found
