"""What the signature in a record covers, other than an envelope's, which has a shorter form of its own.

It is put together here because protobuf promises no two programs the same bytes for the same message.

A record is the values of its fields one after the other, sorted by the fields' names, each behind its name; a field
that is None is left out, and so is the signature. A name and a value are one byte for the type, the
length in bytes (8 bytes, big-endian), and that many bytes:

==== =========================================================
type bytes
==== =========================================================
b    a boolean: one byte, 0 or 1
e    a member of an enumeration: its name
i    an integer: decimal digits
f    a number: 8 bytes, big-endian (IEEE 754 binary64)
s    a text, or a name: UTF-8
y    bytes
t    a time: microseconds since 1970 in UTC, decimal digits
l    a list: its values
m    a mapping: its names, sorted, each with its value behind it
r    a record: as above
n    nothing, in a list or a mapping
==== =========================================================

A later version may add a field that can be None: what was signed before still holds, and a version that does not know
the field does not accept a signature that covers it.
"""

import struct
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any

import attrs

from esper_leyline_proto.timestamps import microseconds

#: A signature does not cover itself.
_NOT_SIGNED = "signature"


def signed_record_bytes(record: Any) -> bytes:
    """Return what the signature in a record covers, behind the full name of its message.

    Raises:
        TypeError: if a value is of none of the types.
        ValueError: if a time has no time zone.
    """
    return f"esper.leyline.v1.{type(record).__name__}".encode() + _record(record)


def _record(record: Any) -> bytes:
    kind: Any = type(record)
    values = ((lead, getattr(record, name)) for name, lead in _fields(kind))
    return b"".join(lead + _value(value) for lead, value in values if value is not None)


@cache
def _fields(kind: Any) -> tuple[tuple[str, bytes], ...]:
    names = sorted(field.name for field in attrs.fields(kind) if field.name != _NOT_SIGNED)
    return tuple((name, _typed(b"s", name.encode())) for name in names)


def _value(value: Any) -> bytes:
    if isinstance(value, Enum):
        return _typed(b"e", value.name.encode())
    if isinstance(value, str):
        return _typed(b"s", value.encode())
    if isinstance(value, bytes):
        return _typed(b"y", value)
    if isinstance(value, datetime):
        return _typed(b"t", b"%d" % microseconds(value))
    if isinstance(value, bool):
        return _typed(b"b", bytes([value]))
    if isinstance(value, int):
        return _typed(b"i", b"%d" % value)
    if isinstance(value, float):
        return _typed(b"f", struct.pack(">d", value))
    return _several(value)


def _several(value: Any) -> bytes:
    if value is None:
        return _typed(b"n", b"")
    if isinstance(value, Mapping):
        return _typed(b"m", b"".join(_value(name) + _value(value[name]) for name in sorted(value)))
    if isinstance(value, list | tuple):
        return _typed(b"l", b"".join(map(_value, value)))
    if attrs.has(type(value)):
        return _typed(b"r", _record(value))
    raise TypeError(f"{type(value).__name__} cannot be signed")


def _typed(kind: bytes, data: bytes) -> bytes:
    return kind + len(data).to_bytes(8, "big") + data
