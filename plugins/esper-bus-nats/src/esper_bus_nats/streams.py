"""The streams of a bus: packs of messages, which are added, read and dropped."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from uuid import uuid4

from esper_bus_nats.names import messages_of
from esper_bus_nats.packs import PLACES, End, Pack, end_of, packed, unpacked
from esper_bus_nats.server_api import ALREADY_PUBLISHED, WRONG_LAST, ServerApi, code_of, demand, tries
from esper_oona.api import Outgoing

#: So many packs that were read last are remembered.
_REMEMBERED = 16

#: Of a message that the server takes, this much is left for its headers, in bytes.
_HEADERS = 1024


class Streams:
    """Streams of messages on a server."""

    def __init__(self, api: ServerApi) -> None:
        self._api = api
        self._ends: dict[str, End] = {}
        #: By connection, stream and number: a server that keeps nothing may have died between two connections, and
        #: numbers begin again then.
        self._packs: OrderedDict[tuple[int, str, int], Pack] = OrderedDict()
        self._lock = threading.Lock()

    def publish(self, stream: str, messages: Sequence[Outgoing]) -> list[int]:
        """Add messages to a stream, all or none, and return their positions.

        A pack says how many messages were there before it, so it is added behind the one that is known as the last, or
        not at all.
        """
        name, subject = messages_of(stream)
        id, largest = uuid4().hex, self._api.largest_bytes - _HEADERS
        for wait in tries("too many publish to one stream at once"):
            end = self._ends.get(stream) or self.end(stream)
            contents = [*packed(messages, end.after, largest)]
            first = {"Nats-Msg-Id": id, "Nats-Expected-Last-Sequence": str(end.number)}
            reply = self._api.add([(subject, it, {} if at else first) for at, it in enumerate(contents)])
            made = [end_of(number, it) for number, it in enumerate(contents, end.number + 1)]
            if code_of(reply) in (*WRONG_LAST, ALREADY_PUBLISHED):
                self._ends.pop(stream, None)
                # The answer to the same publication may have been lost; then it is where it was to be.
                own = self._read(name, end.number + 1, 1)
                if not own or own[0].id != id:
                    wait()
                    continue
            else:
                demand(reply)
                self._ends[stream] = made[-1]
            return [it.number * PLACES + place for it in made for place in range(it.count)]
        raise AssertionError("the last try raises")

    def end(self, stream: str) -> End:
        """Return the end of a stream."""
        name, subject = messages_of(stream)
        found = self._api.newest(name, subject)
        if found is not None:
            return end_of(_number(found[0]), found[1])
        return End(self._api.last_number(name), 0, 0)

    def pack(self, stream: str, number: int) -> Pack | None:
        """Return a pack, if it is still there."""
        if number < 1:  # Of which the server thinks that no question is asked.
            return None
        connection = self._api.connection
        if known := self._remembered(connection, stream, number):
            return known
        found = self._read(messages_of(stream)[0], number, 1)
        if not found or found[0].number != number:
            return None
        self._remember(connection, stream, found[0])
        return found[0]

    def _remembered(self, connection: int, stream: str, number: int) -> Pack | None:
        with self._lock:
            return self._packs.get((connection, stream, number))

    def _remember(self, connection: int, stream: str, pack: Pack) -> None:
        with self._lock:
            self._packs[connection, stream, pack.number] = pack
            while len(self._packs) > _REMEMBERED:
                self._packs.popitem(last=False)

    def _read(self, name: str, number: int, count: int) -> list[Pack]:
        return [_pack(headers, data) for headers, data in self._api.read(name, {"batch": count, "seq": number})]

    def message(self, stream: str, position: int) -> Outgoing | None:
        """Return one message, if it is still there."""
        pack = self.pack(stream, position // PLACES)
        return None if pack is None else dict(pack.behind(position - 1)).get(position)

    def behind(self, stream: str, position: int, count: int) -> list[tuple[Pack, int, Outgoing]]:
        """Return up to so many messages behind a position with their packs and positions, in order."""
        found: list[tuple[Pack, int, Outgoing]] = []
        number, usual, connection = max(1, position // PLACES), 1, self._api.connection
        known = self._remembered(connection, stream, number)
        page = [known] if known else []
        while len(found) < count:
            if not page:
                page = self._read(messages_of(stream)[0], number, 1 + (count - len(found)) // usual)
            if not page:
                break
            for pack in page:
                self._remember(connection, stream, pack)
                found += ((pack, at, it) for at, it in pack.behind(position))
            number, usual, page = page[-1].number + 1, max(1, len(page[-1].messages)), []
        return found[: max(0, count)]

    def position_of(self, stream: str, count: int, first: int, end: End) -> int:
        """Return the position behind the first ``count`` messages of a stream that keeps packs from ``first`` on."""
        if count >= end.after:
            return end.last + 1
        low, high = max(1, first), end.number
        while low < high:  # The pack with this message.
            middle = (low + high) // 2
            pack = self.pack(stream, middle)
            low, high = (middle + 1, high) if pack is None or pack.after <= count else (low, middle)
        pack = self.pack(stream, low)
        return end.last + 1 if pack is None else pack.number * PLACES + max(0, count - pack.before)

    def count_before(self, stream: str, position: int) -> int | None:
        """Return how many messages a stream had before this position, if those are still there."""
        pack = self.pack(stream, (position - 1) // PLACES)
        return None if pack is None else pack.count(position - 1)

    def drop(self, stream: str, number: int) -> None:
        """Drop packs before this one, which may not be behind the last one: that says how many messages there were."""
        self._api.purge(messages_of(stream)[0], {"seq": number})


def _pack(headers: Mapping[str, str], data: bytes) -> Pack:
    return unpacked(_number(headers), headers.get("Nats-Msg-Id", ""), data)


def _number(headers: Mapping[str, str]) -> int:
    return int(headers["Nats-Sequence"])
