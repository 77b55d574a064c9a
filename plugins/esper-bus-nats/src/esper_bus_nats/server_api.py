"""What JetStream can be asked, as far as a bus needs it."""

import json
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from esper_bus_nats.connection import Connection, Request
from esper_core.api import EsperError

#: JetStream's numbers of errors.
NOT_FOUND, WRONG_LAST, ALREADY_PUBLISHED = 10059, (10071, 10164), 10201

#: A batch was cut off, or too many are under way.
_TRY_AGAIN, _BATCH_TRIES = (10176, 10210), 100

#: So many times others may be faster.
_TRIES = 1_000

Headers = Mapping[str, str]


class ServerApi:
    """Requests to JetStream.

    Every method raises `EsperError` E611 if the server does not answer or refuses.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def connection(self) -> int:
        """The number of the connection that is used next: between two of them, a server may have died."""
        return self._connection.number

    @property
    def largest_bytes(self) -> int:
        """How large a message of the server may be."""
        return self._connection.largest_bytes

    def stream_info(self, name: str) -> dict[str, Any] | None:
        """Return what the server says of a stream; None if there is none."""
        found = self._connection.ask_json(f"$JS.API.STREAM.INFO.{name}")
        return None if code_of(found) == NOT_FOUND else demand(found)

    def make_stream(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Make a stream, or return the one that is there and has the same settings."""
        return demand(self._connection.ask_json(f"$JS.API.STREAM.CREATE.{config['name']}", config))

    def last_number(self, name: str) -> int:
        """Return the number of the last message that a stream has ever had; 0 if there was none."""
        found = self.stream_info(name)
        return 0 if found is None else int(found["state"]["last_seq"])

    def newest(self, name: str, subject: str) -> tuple[Headers, bytes] | None:
        """Return the newest message of a subject, if there is one."""
        return self._one([Request(f"$JS.API.DIRECT.GET.{name}.{subject}")])

    def numbered(self, name: str, number: int) -> tuple[Headers, bytes] | None:
        """Return the message with a number, if it is still there."""
        return self._one([Request(f"$JS.API.DIRECT.GET.{name}", json.dumps({"seq": number}).encode())])

    def _one(self, requests: Sequence[Request]) -> tuple[Headers, bytes] | None:
        found = self._connection.ask(lambda: requests)
        headers: Headers = found.headers or {}
        return None if headers.get("Status") == "404" else (headers, found.data)

    def read(self, name: str, question: Mapping[str, Any]) -> list[tuple[Headers, bytes]]:
        """Return messages of a stream."""
        found = self._connection.ask_for_several(f"$JS.API.DIRECT.GET.{name}", question)
        return [(it.headers or {}, it.data) for it in found]

    def purge(self, name: str, question: Mapping[str, Any]) -> None:
        """Drop messages of a stream."""
        demand(self._connection.ask_json(f"$JS.API.STREAM.PURGE.{name}", question))

    def add(self, messages: Sequence[tuple[str, bytes, Headers]]) -> dict[str, Any]:
        """Add messages to a stream, all or none; return the server's answer, which may have an ``error``."""
        requests = [Request(*it) for it in messages]

        def batch() -> Sequence[Request]:
            # A batch that was cut off cannot be continued: each time it has another id.
            id, last = uuid4().hex, len(requests)
            return [
                Request(it.subject, it.payload, {**(it.headers or {}), **_place_in_batch(id, at, last)})
                for at, it in enumerate(requests, 1)
            ]

        for _ in range(_BATCH_TRIES):
            data = self._connection.ask(batch if len(requests) > 1 else lambda: requests).data
            found: dict[str, Any] = json.loads(data)
            if code_of(found) not in _TRY_AGAIN:
                break
            time.sleep(0.01)
        return found


def _place_in_batch(id: str, at: int, last: int) -> Headers:
    headers = {"Nats-Batch-Id": id, "Nats-Batch-Sequence": str(at)}
    return {**headers, "Nats-Batch-Commit": "1"} if at == last else headers


def code_of(reply: Mapping[str, Any]) -> int | None:
    """Return JetStream's number of the error in a reply."""
    found: int | None = reply.get("error", {}).get("err_code")
    return found


def demand(reply: dict[str, Any]) -> dict[str, Any]:
    """Return a reply that is no error."""
    if error := reply.get("error"):
        raise EsperError(
            "E611", "the bus's server refuses", why=f"{error.get('description')} ({error.get('err_code')})"
        )
    return reply


def tries(why: str) -> Iterable[Callable[[], object]]:
    """Yield, for each try, what waits for a moment before the next one.

    Raises:
        EsperError: E611 after too many tries.
    """
    for number in range(_TRIES):
        longest = 0.001 * min(20, 1 + number)
        yield lambda longest=longest: threading.Event().wait(random.uniform(0.0, longest))  # type: ignore[misc]
    raise EsperError("E611", "the bus's server is busy", why=why)
