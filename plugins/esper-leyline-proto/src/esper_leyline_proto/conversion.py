"""The one converter: records into messages and messages into records.

What does not fit is refused with its path, in both directions. `record_codecs` says how a record becomes a message.
"""

from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from esper_core.leyline.errors import EsperError
from esper_leyline_proto.record_codecs import codec_of
from esper_leyline_proto.scalars import RefusedError

T = TypeVar("T")


def to_bytes(record: Any) -> bytes:
    """Return a record as the bytes of its message. Equal records give equal bytes, as long as protobuf is the same.

    Raises:
        EsperError: E601 if a value has no place in the message: it names the field.
        TypeError: if there is no message for this class.
    """
    return to_message(record).SerializeToString(deterministic=True)


def from_bytes(cls: type[T], data: bytes) -> T:
    """Return the record of class `cls` that the bytes hold. Fields that this version does not know are dropped.

    Raises:
        EsperError: E602 if they are not such a message, or a value in it does not fit: it names the field.
        TypeError: if there is no message for this class.
    """
    try:
        message = codec_of(cls).message.FromString(data)
    except DecodeError as error:
        fix = "check that producer and consumer mean the same message, and that nothing cut the bytes off"
        raise EsperError("E602", f"{len(data)} bytes are no {cls.__name__}", why=str(error), fix=fix) from error
    return from_message(cls, message)


def to_message(record: Any) -> Message:
    """Return a record as its message.

    Raises:
        EsperError: E601 if a value has no place in the message: it names the field.
        TypeError: if there is no message for this class.
    """
    codec = codec_of(type(record))
    try:
        return codec.write(record)
    except RefusedError as refused:
        name = type(record).__name__
        what = f"the {name} cannot be sent: {refused.path or 'it'} does not fit"
        fix = f"correct {refused.path} where the {name} is made" if refused.path else "send another record"
        raise EsperError("E601", what, where=_place(name, refused), why=refused.why, fix=fix) from refused


def from_message(cls: type[T], message: Message) -> T:
    """Return the record of class `cls` that a message holds.

    Raises:
        EsperError: E602 if a value in it does not fit: it names the field.
        TypeError: if there is no message for this class, or it is another one.
    """
    codec = codec_of(cls)
    if message.DESCRIPTOR.full_name != codec.message.DESCRIPTOR.full_name:
        raise TypeError(f"{message.DESCRIPTOR.full_name} is no {cls.__name__}")
    try:
        record: T = codec.read(message)
    except RefusedError as refused:
        name = cls.__name__
        fix = "correct the producer; if it is of a newer Esper than the consumer, update the consumer"
        what = f"a {name} cannot be read: {refused.path or 'it'} does not fit"
        raise EsperError("E602", what, where=_place(name, refused), why=refused.why, fix=fix) from refused
    return record


def _place(name: str, refused: RefusedError) -> str:
    return f"{name}.{refused.path}" if refused.path else name
