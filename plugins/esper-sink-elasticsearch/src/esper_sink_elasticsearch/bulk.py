"""Send documents so that each is there once: what a busy server refuses is tried again, for a bounded time."""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen

from esper_sink_elasticsearch.client import ApiError, Elasticsearch, TransportError

#: What a server says that is busy or starting: 429 too many requests, 502 to 504 a proxy or a shard is away.
BUSY = frozenset({429, 502, 503, 504})

#: The document is there already: an answer was lost, and it was sent again.
_THERE = 409

#: Documents of one request at most, and their size as a whole.
_MOST, _BYTES = 500, 4_000_000

#: Seconds until the second try; each wait is twice as long as the one before, up to the longest.
_FIRST, _LONGEST = 0.1, 5.0


@frozen
class Entry:
    """A document on its way.

    Attributes:
        identity: its ``_id``.
        source: the document as JSON.
    """

    identity: str
    source: bytes


class NotStoredError(RuntimeError):
    """Documents that are not stored; the message says how many, and why."""


@define
class Bulk:
    """Sends documents to one index.

    Attributes:
        client: the client, which does not retry by itself.
        index: the index.
        patience: seconds for which documents are tried again.
        wait: how it is waited.
        now: a clock.
    """

    client: Elasticsearch
    index: str
    patience: float
    wait: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic
    _random: random.Random = field(factory=random.SystemRandom, init=False)

    def store(self, entries: Sequence[Entry]) -> None:
        """Store documents.

        Raises:
            NotStoredError: if the server refuses some of them, or is busy or away for too long. All others are stored.
        """
        refused: list[str] = []
        end = self.now() + self.patience
        for chunk in _chunks(entries):
            waiting, pause = list(chunk), _FIRST
            while waiting:
                waiting, said, least = self._send(waiting, refused)
                if not waiting:
                    break
                # Not all senders at the same moment.
                delay = max(least, pause * self._random.uniform(0.5, 1.0))
                if self.now() + delay > end:
                    raise NotStoredError(f"{len(waiting)} events are not stored: {said}")
                self.wait(delay)
                pause = min(2 * pause, _LONGEST)
        if refused:
            raise NotStoredError(f"{len(refused)} events are refused: {refused[0]}")

    def _send(self, entries: list[Entry], refused: list[str]) -> tuple[list[Entry], str, float]:
        """Send once; return what to send again, why, and after how many seconds at least."""
        lines: list[Any] = []
        for entry in entries:
            lines += [{"create": {"_id": entry.identity}}, entry.source]
        try:
            answer: Mapping[str, Any] = self.client.bulk(index=self.index, operations=lines).body
        except ApiError as error:
            if error.status_code not in BUSY:
                raise NotStoredError(f"{len(entries)} events are not stored: {in_words(error)}") from error
            return entries, in_words(error), _retry_after(error)
        except TransportError as error:  # no answer: whether they are stored shows when they are sent again
            return entries, in_words(error), 0.0
        return self._judge(entries, answer, refused)

    def _judge(
        self, entries: list[Entry], answer: Mapping[str, Any], refused: list[str]
    ) -> tuple[list[Entry], str, float]:
        items = answer.get("items")
        if not isinstance(items, list) or len(items) != len(entries):
            return entries, "the server's answer is none to a bulk request", 0.0
        again, said = [], ""
        for entry, item in zip(entries, items, strict=True):
            verdict = item.get("create") or {}
            status = verdict.get("status")
            if isinstance(status, int) and (status < 300 or status == _THERE):
                continue
            reason = str((verdict.get("error") or {}).get("reason") or verdict.get("error") or status)[:300]
            if status in BUSY:
                again.append(entry)
                said = f"{status}: {reason}"
            else:
                refused.append(f"{status}: {reason}")
        return again, said, 0.0


def _chunks(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    chunk: list[Entry] = []
    size = 0
    for entry in entries:
        if chunk and (len(chunk) >= _MOST or size + len(entry.source) > _BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(entry)
        size += len(entry.source)
    if chunk:
        yield chunk


def _retry_after(error: ApiError) -> float:
    try:
        return min(max(float(error.meta.headers.get("retry-after") or 0), 0.0), _LONGEST)
    except ValueError:  # a date
        return _LONGEST


def in_words(error: Exception) -> str:
    """Return what the server, or the way to it, says about a request that failed."""
    body: Any = error.body if isinstance(error, ApiError) else None
    reason = body.get("error") if isinstance(body, Mapping) else None
    reason = reason.get("reason") if isinstance(reason, Mapping) else reason
    return f"{type(error).__name__}: {error}{f': {reason}' if reason else ''}"[:500]
