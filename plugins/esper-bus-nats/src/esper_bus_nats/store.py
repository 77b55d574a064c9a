"""Records on a server that are replaced by compare-and-swap, and the streams beside them."""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from attrs import frozen

from esper_bus_nats.names import STATE, STATE_SUBJECTS, messages_of
from esper_bus_nats.server_api import ALREADY_PUBLISHED, WRONG_LAST, Headers, ServerApi, code_of, demand
from esper_core.api import EsperError

#: A publication that is asked for again within this time is known, in nanoseconds.
_DUPLICATE_WINDOW = 600 * 10**9

#: How old the difference between the server's clock and this machine's may be, in seconds.
_CLOCK_SECONDS = 10.0


@frozen
class Record:
    """What is at a subject.

    Attributes:
        data: empty if there is nothing.
        revision: its number among all changes; 0 if there was never anything.
        writer: the id of the change that has made it.
    """

    subject: str
    data: bytes = b""
    revision: int = 0
    writer: str = ""


@frozen
class Change:
    """A record that is to be replaced.

    Attributes:
        data: what comes in its place; empty for nothing.
        revision: what it must be now, or nothing is changed; None: whatever it is.
    """

    subject: str
    data: bytes
    revision: int | None = None


class Store:
    """Records on a server."""

    def __init__(self, api: ServerApi, *, storage: str) -> None:
        self._api = api
        self._open: set[tuple[int, str]] = set()
        self._now = (0.0, float("-inf"))
        self._asked_storage = storage
        self.storage = self._open_state()

    def _open_state(self) -> str:
        """Make the stream of records, if there is none, and return where it is."""
        found = self._stream(STATE, STATE_SUBJECTS, self._asked_storage, max_msgs_per_subject=1)
        return str(found["config"]["storage"])

    def _stream(self, name: str, subjects: Sequence[str], storage: str, **more: Any) -> dict[str, Any]:
        """Return what the server says of a stream, which is made if need be."""
        config = {
            "name": name,
            "subjects": [*subjects],
            "storage": storage,
            "num_replicas": 1,
            "discard": "old",
            "allow_atomic": True,
            "allow_direct": True,
            "duplicate_window": _DUPLICATE_WINDOW,
            **more,
        }
        found = self._api.stream_info(name) or self._api.make_stream(config)
        if not (found["config"].get("allow_atomic") and found["config"].get("allow_direct")):
            what = f'the stream "{name}" of the server does not allow atomic batches and direct reading'
            raise EsperError("E615", what, fix=f"nats stream edit {name} --allow-batch --allow-direct")
        return found

    @property
    def connection(self) -> int:
        """The number of the connection that is used next: a server that keeps nothing may have died before it."""
        return self._api.connection

    def now(self) -> float:
        """Return the server's time in seconds since 1970."""
        server, asked = self._now
        if time.monotonic() - asked > _CLOCK_SECONDS:
            found = self._api.stream_info(STATE)
            server, asked = self._now = (_seconds(found["ts"]) if found else time.time(), time.monotonic())
        return server + time.monotonic() - asked

    def is_open(self, stream: str) -> bool:
        """Whether a stream was opened since the connection was made."""
        return (self.connection, stream) in self._open

    def open_stream(self, stream: str) -> str:
        """Make a stream of the bus, if there is none, and return when it was made."""
        self._open_state()
        name, subject = messages_of(stream)
        found = self._stream(name, [subject], self.storage)
        self._open.add((self.connection, stream))
        return str(found["created"])

    def read(self, *subjects: str) -> dict[str, Record]:
        """Return the records of subjects, which may have wildcards, as they were at one moment."""
        records = [_record(*it) for it in self._api.read(STATE, {"multi_last": [*subjects]})]
        return {it.subject: it for it in records}

    def record(self, subject: str) -> Record:
        """Return the record of a subject."""
        found = self._api.newest(STATE, subject)
        return Record(subject) if found is None else _record(*found)

    def by_revision(self, revision: int) -> Record | None:
        """Return the record with a revision, if it is still there."""
        found = self._api.numbered(STATE, revision)
        return None if found is None else _record(*found)

    def records(self, subject: str) -> list[Record]:
        """Return all records of a subject with wildcards, oldest first."""
        found: list[Record] = []
        while True:
            question = {"batch": 1000, "seq": found[-1].revision + 1 if found else 1, "next_by_subj": subject}
            page = self._api.read(STATE, question)
            found += [_record(*it) for it in page]
            if not page:
                return [it for it in found if it.data]

    def replace(self, first: Change, *others: Change) -> tuple[bool, Record | None]:
        """Replace records, all or none.

        Returns:
            whether it was done, and the first record as this has made it; None if it was not done, because somebody
            else has replaced one of them before, or if somebody else has replaced the first one since.
        """
        id, changes = uuid4().hex, [first, *others]
        reply = self._api.add(
            [
                (it.subject, it.data, _expected(it) | ({} if at else {"Nats-Msg-Id": id}))
                for at, it in enumerate(changes)
            ]
        )
        if code_of(reply) not in (*WRONG_LAST, ALREADY_PUBLISHED):
            revision = int(demand(reply)["seq"]) - len(others)
            return True, Record(first.subject, first.data, revision, id)
        # The answer to the same change may have been lost. Meanwhile others go on: what is there now may be theirs.
        found = self.record(first.subject)
        if found.writer == id:
            return True, found
        return code_of(reply) == ALREADY_PUBLISHED, None

    def forget(self, subject: str, revision: int) -> None:
        """Drop what was at subjects up to a revision; nobody may need it any more."""
        self._api.purge(STATE, {"filter": subject, "seq": revision + 1})


def _expected(change: Change) -> dict[str, str]:
    return {} if change.revision is None else {"Nats-Expected-Last-Subject-Sequence": str(change.revision)}


def _record(headers: Headers, data: bytes) -> Record:
    return Record(headers["Nats-Subject"], data, int(headers["Nats-Sequence"]), headers.get("Nats-Msg-Id", ""))


def _seconds(text: str) -> float:
    """The server writes nanoseconds, which `datetime` does not read."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or '0'}")
