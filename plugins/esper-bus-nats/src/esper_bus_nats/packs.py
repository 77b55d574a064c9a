"""Publications as JetStream keeps them: all messages of one in a pack, which a server adds as one message.

The position of a message is the number of its pack, times 1,000, plus its place in it.
"""

import struct
from collections.abc import Iterator, Sequence

from attrs import field, frozen

from esper_oona.api import Outgoing

#: More messages than a pack can have.
PLACES = 1000

_HEAD, _SIZES = struct.Struct(">QI"), struct.Struct(">II")


@frozen
class End:
    """The last pack of a stream, without its messages.

    Attributes:
        number: of the pack; 0 for a stream that has none.
        count: how many messages it has.
        after: how many messages the stream had with these.
    """

    number: int
    count: int
    after: int

    @property
    def last(self) -> int:
        """The position of the last message."""
        return self.number * PLACES + self.count - 1


@frozen
class Pack:
    """The messages of a publication, or a part of them where all are more than a server takes at once.

    Attributes:
        number: of the pack in its stream.
        id: of the publication, or "" if it is not its first pack.
        before: how many messages the stream had before.
    """

    number: int
    id: str
    before: int
    messages: tuple[Outgoing, ...] = field(repr=False)

    @property
    def after(self) -> int:
        """How many messages the stream had with these."""
        return self.before + len(self.messages)

    def behind(self, position: int) -> Iterator[tuple[int, Outgoing]]:
        """Yield the messages behind a position with their own ones."""
        first = self.number * PLACES
        for at, message in enumerate(self.messages, first):
            if at > position:
                yield at, message

    def count(self, position: int) -> int:
        """Return how many messages the stream had up to this position, which is in this pack or behind its messages."""
        return self.before + min(len(self.messages), position - self.number * PLACES + 1)


def packed(messages: Sequence[Outgoing], before: int, largest_bytes: int) -> Iterator[bytes]:
    """Yield the contents of packs, each of at most so many bytes, if its messages are smaller than that."""
    rows: list[bytes] = []
    size = _HEAD.size
    for message in messages:
        key = message.key.encode()
        row = _SIZES.pack(len(key), len(message.body)) + key + message.body
        if rows and size + len(row) > largest_bytes:
            yield _HEAD.pack(before, len(rows)) + b"".join(rows)
            before, rows, size = before + len(rows), [], _HEAD.size
        rows.append(row)
        size += len(row)
    yield _HEAD.pack(before, len(rows)) + b"".join(rows)


def end_of(number: int, data: bytes) -> End:
    """Return what a pack says of the end of its stream, if it is the last one."""
    before, count = _HEAD.unpack_from(data)
    return End(number, count, before + count)


def unpacked(number: int, id: str, data: bytes) -> Pack:
    """Return the pack that `packed` has made."""
    before, count = _HEAD.unpack_from(data)
    at, messages = _HEAD.size, []
    for _ in range(count):
        key, body = _SIZES.unpack_from(data, at)
        at += _SIZES.size
        messages.append(Outgoing(data[at : at + key].decode(), data[at + key : at + key + body]))
        at += key + body
    return Pack(number, id, before, tuple(messages))
