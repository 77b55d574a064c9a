"""What travels on a bus: a message as bytes, with all that a bus has to know of it."""

from datetime import datetime
from enum import IntEnum
from struct import Struct

from attrs import field, frozen, validators

from esper_leyline_proto.timestamps import microseconds

#: Begins what is signed, so that a signature of an envelope is one of nothing else.
_SIGNED_AS = b"esper.leyline.v1.Envelope"

#: In front of what is signed: a length, and numbers behind their own; a field that is None has no length.
_LENGTH, _NUMBER, _NUMBERS, _NONE = Struct(">Q"), Struct(">Qq"), Struct(">QqQqQq"), b"\xff" * 8


class MessageType(IntEnum):
    """Which message an envelope carries."""

    SYSTEM_STATE = 1
    ADAPTATION_COMMAND = 2
    FIELD_REPORT = 3
    TELEMETRY = 4
    POLICY_UPDATE = 5
    KERNEL_PREFETCH_REQUEST = 6
    KERNEL_PREFETCH_READY = 7
    KERNEL_PREFETCH_ERROR = 8
    KERNEL_CATALOG_UPDATE = 9
    EMERGENCY_SIGNAL = 10


class MessagePriority(IntEnum):
    """How soon a message wants to be handled, among those that wait."""

    LOW = 1
    NORMAL = 2
    HIGH = 3
    CRITICAL = 4


@frozen(kw_only=True)
class Envelope:
    """A message with what a bus has to know of it.

    Attributes:
        id: unique among all messages; the same in every attempt.
        type: which message the payload is.
        schema_version: version of the payload's content.
        issued_at: when it was made, with a time zone.
        expires_at: nobody acts on the message after this; None: it does not expire.
        priority: among the messages that wait.
        attempt: how often it has been delivered before, from 0; not signed, because the bus counts it.
        key: messages with the same key are handled in the order of their publication; "": order does not matter.
        producer: who published it.
        payload: the message, serialised.
        key_id: name of the key that it was signed with; None: it is not signed.
        signature: HMAC-SHA256 of `signed_bytes`; None: it is not signed.
    """

    id: str
    type: MessageType
    schema_version: int = 1
    issued_at: datetime
    expires_at: datetime | None = None
    priority: MessagePriority = MessagePriority.NORMAL
    attempt: int = field(default=0, validator=validators.ge(0))
    key: str = ""
    producer: str = ""
    payload: bytes
    key_id: str | None = None
    signature: bytes | None = None


def signed_bytes(envelope: Envelope) -> bytes:
    """Return what a signature covers: every field but `attempt` and `signature`, each with its length in front.

    It is put together by hand because protobuf promises no two programs the same bytes for the same message. After
    ``esper.leyline.v1.Envelope`` come id, type, schema_version, issued_at, expires_at, priority, key, producer, payload
    and key_id: for each the length in bytes (8 bytes, big-endian) and the bytes; a number or a time (microseconds since
    1970 in UTC) as 8 bytes, big-endian with sign; 2**64 - 1 for the length of a field that is None.
    """
    it, sized, expires = envelope, _sized, envelope.expires_at
    return b"".join(
        (
            *(_SIGNED_AS, sized(it.id.encode())),
            _NUMBERS.pack(8, it.type, 8, it.schema_version, 8, microseconds(it.issued_at)),
            _NONE if expires is None else _NUMBER.pack(8, microseconds(expires)),
            _NUMBER.pack(8, it.priority),
            *(sized(it.key.encode()), sized(it.producer.encode()), sized(it.payload)),
            _NONE if it.key_id is None else sized(it.key_id.encode()),
        )
    )


def _sized(data: bytes) -> bytes:
    return _LENGTH.pack(len(data)) + data
