"""The groups of each stream, and changes of a group's state by compare-and-swap."""

import json
from collections.abc import Callable, Sequence
from typing import TypeVar

from attrs import evolve, frozen

from esper_bus_nats.group import GroupState, decoded, encoded
from esper_bus_nats.names import apart_subject, group_subject, stream_subject
from esper_bus_nats.server_api import tries
from esper_bus_nats.store import Change, Record, Store
from esper_core.api import EsperError

T = TypeVar("T")


@frozen(kw_only=True)
class StreamState:
    """What is known of a stream.

    Attributes:
        name: of the stream.
        created: when the server made it.
        groups: those that have joined.
        floor: the position up to which it is trimmed.
        dropped: how many messages it has had up to there.
    """

    name: str
    created: str
    groups: tuple[str, ...] = ()
    floor: int = 0
    dropped: int = 0


@frozen
class _Newest:
    """A record that was made here, with what it says, and the number of the connection through which that was.

    A server that has lost what it had begins its numbers again, and then they are those of other records.
    """

    record: Record
    state: GroupState
    connection: int


class Groups:
    """Makes, changes and removes groups."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._newest: dict[str, _Newest] = {}

    def open_stream(self, stream: str) -> None:
        """Make a stream, if there is none.

        Raises:
            EsperError: E615 if somebody has removed the stream and made it again, so that positions mean something
                else.
        """
        if self._store.is_open(stream):
            return
        created = self._store.open_stream(stream)
        subject = stream_subject(stream)
        if not self._store.record(subject).data:
            self._store.replace(Change(subject, _encoded(StreamState(name=stream, created=created)), 0))
        if stream_state(self._store.record(subject)).created != created:
            fix = "remove the streams OONA… of the server, and with them what they keep"
            raise EsperError("E615", f'the stream "{stream}" was removed and made again', fix=fix)

    def join(self, stream: str, group: str) -> None:
        """Make a group, if there is none; it begins with the oldest message that the stream still has."""
        self.open_stream(stream)
        for wait in tries("others change the same groups"):
            record = self._store.record(stream_subject(stream))
            state = stream_state(record)
            if group in state.groups:
                return
            before = self._store.record(group_subject(stream, group))
            joined = _encoded(evolve(state, groups=(*state.groups, group)))
            own = Change(before.subject, encoded(GroupState(state.floor, state.dropped)), before.revision)
            if self._store.replace(own, Change(record.subject, joined, record.revision))[0]:
                return
            wait()

    def leave(self, stream: str, group: str) -> None:
        """Remove a group with all that it has not handled."""
        for wait in tries("others change the same groups"):
            records = self._store.read(stream_subject(stream), group_subject(stream, group))
            record, own = records.get(stream_subject(stream)), records.get(group_subject(stream, group))
            if record is None or own is None or group not in stream_state(record).groups:
                return
            state = stream_state(record)
            left = _encoded(evolve(state, groups=tuple(it for it in state.groups if it != group)))
            gone = Change(own.subject, b"", own.revision)
            done, made = self._store.replace(gone, Change(record.subject, left, record.revision))
            if done:
                self._newest.pop(own.subject, None)
                if made is not None:  # Else somebody has joined it again since, and may need what is there.
                    self._store.forget(own.subject, made.revision)
                    self._store.forget(apart_subject(stream, group, ">"), made.revision)
                return
            wait()

    def raise_floor(self, record: Record, floor: int, dropped: int) -> bool:
        """Say up to where a stream is trimmed; False if a group came or went meanwhile."""
        state = evolve(stream_state(record), floor=floor, dropped=dropped)
        return self._store.replace(Change(record.subject, _encoded(state), record.revision))[0]

    def change(
        self,
        stream: str,
        group: str,
        step: Callable[[GroupState], tuple[T, Sequence[Change]] | None],
        *,
        fresh: bool = False,
        join: bool = False,
    ) -> tuple[T, int | None] | None:
        """Change a group's state, again until nobody else was faster.

        Args:
            step: changes the state that it is given, and returns a result with the records that are to be changed in
                the same step; or None if nothing is to be changed.
            fresh: ask the server first, because also what is not changed matters.
            join: make the group, if there is none.

        Returns:
            the result with the revision, which is None where somebody has changed the state again before this was
            known; or None if nothing was changed or there is no group.
        """
        subject = group_subject(stream, group)
        for wait in tries("others change the same groups"):
            connection, newest = self._store.connection, None if fresh else self._newest.get(subject)
            if newest is not None and newest.connection != connection:
                newest = None
            record, state = (newest.record, newest.state) if newest else self._read(subject)
            if state is None:
                if not join:
                    return None
                self.join(stream, group)
                continue
            state = state.copy()
            found = step(state)
            if found is None:
                if newest is None:
                    return None
                fresh = True
                continue
            result, others = found
            done, made = self._store.replace(Change(subject, encoded(state), record.revision), *others)
            self._newest.pop(subject, None)
            if made is not None:
                self._newest[subject] = _Newest(made, state, connection)
            if done:
                return result, None if made is None else made.revision
            fresh = True
            wait()
        raise AssertionError("the last try raises")

    def _read(self, subject: str) -> tuple[Record, GroupState | None]:
        record = self._store.record(subject)
        return record, decoded(record.data) if record.data else None


def stream_state(record: Record) -> StreamState:
    """Return what a record says of a stream."""
    found = json.loads(record.data)
    return StreamState(**{**found, "groups": tuple(found["groups"])})


def _encoded(state: StreamState) -> bytes:
    found: dict[str, object] = {"name": state.name, "created": state.created, "groups": state.groups}
    found |= {"floor": state.floor, "dropped": state.dropped}
    return json.dumps(found).encode()
