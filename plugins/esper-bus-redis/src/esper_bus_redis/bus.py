"""The bus over Redis Streams: each method is one script, which the server runs as one step."""

import re
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any, Literal, TypeVar
from uuid import uuid4

import redis
from attrs import field, frozen, validators
from redis.backoff import NoBackoff
from redis.retry import Retry

from esper_bus_redis.durability import promised, require
from esper_core.api import EsperError
from esper_oona.api import Backlog, DeadLetter, Delivery, NetworkEdge, Outgoing, Survival, secret

T = TypeVar("T")

#: The password in the environment.
PASSWORD = "ESPER_REDIS_PASSWORD"

_SURVIVE = {"process": Survival.PROCESS, "server": Survival.SERVER, "power": Survival.POWER}
_FAILURES = (redis.ConnectionError, redis.TimeoutError)
#: How the server names an entry.
_ID = re.compile(r"\d+-\d+")
_PREFIX = "oona:stream:"


@frozen(kw_only=True)
class RedisConfig:
    """Options of `redis`.

    Attributes:
        url: ``redis://HOST:PORT/DATABASE``, ``rediss://`` with TLS, ``redis+unix:///PATH``. The password is taken from
            the environment's ESPER_REDIS_PASSWORD. A user's name may stand in front of ``@``.
        secret_file: a file with the password, which only its owner may read; instead of the environment.
        survives: the worst that messages must survive: ``process``, ``server`` or ``power``. A server that promises
            less is refused.
        timeout_seconds: how long one call may take.
    """

    url: str = "redis://localhost:6379/0"
    survives: Literal["process", "server", "power"] = field(
        default="process", validator=validators.in_(_SURVIVE), metadata={"esper_unseen": "durability"}
    )
    secret_file: str | None = field(default=None, metadata={"esper_unseen": "security"})
    timeout_seconds: float = field(
        default=5.0, converter=float, validator=validators.gt(0.0), metadata={"esper_unseen": "speed"}
    )


class RedisBus:
    """See `esper_oona.api.Bus`. All times are the server's.

    Raises:
        EsperError: E202 if the address holds a password, E611 if the server does not answer, E612 if the file of a
            secret can be read by others, E614 if the server promises less than is asked for.
    """

    def __init__(self, config: RedisConfig) -> None:
        self._edge = NetworkEdge("the bus's server", _FAILURES)
        url = config.url.replace("redis+unix:", "unix:", 1)
        if ":" in url.partition("//")[2].partition("/")[0].rpartition("@")[0]:
            fix = f"put it into {PASSWORD}, or into a file for `?secret_file=PATH`"
            raise EsperError("E202", "an address is no place for a password: everybody can read it", fix=fix)
        try:
            self._redis = redis.Redis.from_url(
                url,
                password=secret(PASSWORD, config.secret_file),
                protocol=2,
                socket_timeout=config.timeout_seconds,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError as error:
            fix = "redis://HOST:PORT/DATABASE, such as redis://localhost:6379/0"
            raise EsperError("E202", "the address of a bus cannot be understood", why=str(error), fix=fix) from error
        self._scripts = {name: self._redis.register_script(_script(name)) for name in _SCRIPTS}
        self.survives = promised(self._settings())
        require(_SURVIVE[config.survives], self.survives)

    @property
    def breaker(self) -> str:
        """The state of the breaker in front of the server."""
        return self._edge.state

    def _settings(self) -> dict[str, str]:
        def ask() -> Any:
            try:
                return self._redis.config_get("append*")
            except redis.ResponseError:  # It is not told to everybody.
                return {}

        found = self._ask(ask)
        return {_text(name): _text(value) for name, value in found.items()}

    def _ask(self, function: Callable[[], T]) -> T:
        try:
            return self._edge.call(function)
        except redis.RedisError as error:
            raise EsperError("E611", "the bus's server refuses", why=str(error)) from error

    def _run(self, name: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        return self._ask(lambda: self._scripts[name](keys=keys, args=args))

    def publish(self, stream: str, messages: Sequence[Outgoing]) -> Sequence[int]:
        """Add messages to a stream, all or none."""
        if not messages:
            return []
        keys = [*_keys(stream), f"oona:published:{uuid4().hex}"]
        first = self._run("publish", keys, [part for it in messages for part in (it.key, it.body)])
        return range(first, first + len(messages))

    def join(self, stream: str, group: str) -> None:
        """Make a group, if there is none."""
        self._run("join", _keys(stream), [group])

    def leave(self, stream: str, group: str) -> None:
        """Remove a group with all that it has not handled."""
        self._run("leave", _keys(stream), [group])

    def receive(
        self, stream: str, group: str, consumer: str, *, limit: int, lease_seconds: float, attempts: int
    ) -> Sequence[Delivery]:
        """Lease messages to a consumer."""
        found = self._run("receive", _keys(stream), [group, consumer, limit, _milliseconds(lease_seconds), attempts])
        rows = zip(*(found[index::5] for index in range(5)), strict=True)
        deliveries = [
            Delivery(stream, group, consumer, at, _text(key), body, attempt, bool(before))
            for at, key, body, attempt, before in rows
        ]
        return sorted(deliveries, key=lambda it: it.position)

    def renew(self, deliveries: Sequence[Delivery], *, lease_seconds: float) -> Sequence[Delivery]:
        """Extend leases."""
        kept: list[Delivery] = []
        for (stream, group), some in _by_group(deliveries).items():
            args = [group, _milliseconds(lease_seconds), *_leases(some)]
            positions = {*self._run("renew", _keys(stream), args)}
            kept += [it for it in some if it.position in positions]
        return kept

    def acknowledge(self, deliveries: Sequence[Delivery]) -> int:
        """Finish messages that were handled."""
        return sum(
            self._run("acknowledge", _keys(stream), [group, *_leases(some)])
            for (stream, group), some in _by_group(deliveries).items()
        )

    def retry(self, delivery: Delivery, *, delay_seconds: float, counts: bool = True) -> bool:
        """Give a message back."""
        args = [delivery.group, *_leases([delivery]), _milliseconds(delay_seconds), delivery.attempt - (not counts)]
        return bool(self._run("retry", _keys(delivery.stream), args))

    def bury(self, delivery: Delivery, reason: str) -> bool:
        """Finish a message as a dead letter."""
        return bool(self._run("bury", _keys(delivery.stream), [delivery.group, *_leases([delivery]), reason]))

    def trim(self, stream: str, *, keep: int) -> int:
        """Drop the oldest messages that every group has finished."""
        return int(self._run("trim", _keys(stream), [max(0, keep)]))

    def backlogs(self) -> Sequence[Backlog]:
        """Return what is not finished, by stream and group."""
        found = []
        for name in sorted(_text(it) for it in self._ask(lambda: self._redis.smembers("oona:streams"))):
            stream = name.removeprefix(_PREFIX)
            rows = self._run("backlogs", _keys(stream), [])
            for group, waiting, pending in zip(rows[::3], rows[1::3], rows[2::3], strict=True):
                found.append(Backlog(stream, _text(group), waiting, pending))
        return sorted(found)

    def tail(self, stream: str, count: int) -> Sequence[tuple[int, Outgoing]]:
        """Return the newest messages of a stream, in order."""
        rows = self._newest(_keys(stream)[0], count)
        return [(_position(id), Outgoing(_text(it[b"key"]), it[b"body"])) for id, it in reversed(rows)]

    def _newest(self, key: str, count: int) -> list[Any]:
        found: Any = self._ask(lambda: self._redis.xrevrange(key, count=count))
        return [*found]

    def dead(self, count: int) -> Sequence[DeadLetter]:
        """Return the newest dead letters, oldest first."""
        rows = self._newest("oona:dead", count)
        return [_letter(_text(id), it) for id, it in reversed(rows)]

    def requeue(self, ids: Sequence[str]) -> int:
        """Hand dead letters out again."""
        found = 0
        for id in filter(_ID.fullmatch, ids):
            for _, letter in self._entry("oona:dead", id):
                found += self._run("requeue", [_text(letter[b"stream"])], [id])
        return found

    def _entry(self, key: str, id: str) -> list[Any]:
        found: Any = self._ask(lambda: self._redis.xrange(key, id, id))
        return [*found]

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()


_SCRIPTS = (
    *("publish", "join", "leave", "receive", "renew", "acknowledge", "retry", "bury"),
    *("trim", "backlogs", "requeue"),
)


def _script(name: str) -> str:
    folder = files(__package__) / "scripts"
    return (folder / "common.lua").read_text() + (folder / f"{name}.lua").read_text()


def _keys(stream: str) -> list[str]:
    return [_PREFIX + stream, f"{_PREFIX}{stream}:last"]


def _leases(deliveries: Sequence[Delivery]) -> list[Any]:
    return [part for it in deliveries for part in (it.position, it.consumer, it.attempt)]


def _by_group(deliveries: Sequence[Delivery]) -> dict[tuple[str, str], list[Delivery]]:
    found: dict[tuple[str, str], list[Delivery]] = {}
    for it in deliveries:
        found.setdefault((it.stream, it.group), []).append(it)
    return found


def _letter(id: str, it: dict[bytes, bytes]) -> DeadLetter:
    stream = _text(it[b"stream"]).removeprefix(_PREFIX)
    at = int(it[b"at"]) / 1000
    numbers = int(it[b"position"]), int(it[b"attempts"])
    return DeadLetter(
        id,
        stream,
        _text(it[b"group"]),
        numbers[0],
        _text(it[b"key"]),
        it[b"body"],
        _text(it[b"reason"]),
        numbers[1],
        at,
    )


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _position(id: bytes) -> int:
    return int(id.partition(b"-")[0])


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
