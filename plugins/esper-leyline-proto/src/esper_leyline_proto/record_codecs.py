"""Records as messages, by the names and the types of their fields: the heart of the converter.

Nothing is written by hand for a message. A record's field and a message's field of the same name are one; `scalars` and
`plain_values` say how a value is written, by the two fields' types.
"""

import types
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum, StrEnum
from functools import reduce
from operator import attrgetter, or_
from typing import Any, Union, get_args, get_origin, get_type_hints

import attrs
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from esper_leyline_proto import plain_values, scalars
from esper_leyline_proto.contract import PACKAGE, message_descriptor
from esper_leyline_proto.scalars import Codec, RefusedError, got


class RecordCodec:
    """Converts the records of one class. All that does not depend on the record is worked out once, here.

    Attributes:
        kind: the class.
        message: the class of its messages.
    """

    def __init__(self, kind: type[Any]) -> None:
        self.kind = kind
        descriptor = message_descriptor(kind.__name__)
        self.message: type[Message] = GetMessageClass(descriptor)
        hints = get_type_hints(kind)
        own = [field for field in attrs.fields(kind) if not field.metadata.get("esper_bulky")]
        if missing := [field.name for field in own if field.name not in descriptor.fields_by_name]:
            raise TypeError(f"{descriptor.full_name} has no field for {', '.join(missing)} of {kind.__name__}")
        self._fields = tuple(_Field(field, hints[field.name], descriptor.fields_by_name[field.name]) for field in own)
        self._by_number = {field.number: field for field in self._fields}
        self._values = _values_of([field.name for field in self._fields])

    def write(self, record: Any) -> Message:
        """Return a record as a message. Raises RefusedError if a value has no place in it."""
        if type(record) is not self.kind:
            raise RefusedError(f"expected a {self.kind.__name__}, got {got(record)}")
        values = {}
        for field, value in zip(self._fields, self._values(record), strict=True):
            if value is None and field.optional:
                continue
            try:
                values[field.name] = field.write(value)
            except RefusedError as refused:
                raise refused.inside(field.name) from None
        return self.message(**values)

    def read(self, message: Message) -> Any:
        """Return a message as a record. Raises RefusedError if a value in it does not fit."""
        values = {}
        for descriptor, value in message.ListFields():
            if (field := self._by_number.get(descriptor.number)) is None:
                continue  # A newer Esper's, which this one's record has no field for.
            try:
                values[field.name] = field.read(value)
            except RefusedError as refused:
                raise refused.inside(field.name) from None
        if len(values) < len(self._fields):
            self._fill_in(values)
        try:
            return self.kind(**values)
        except (TypeError, ValueError) as error:
            raise RefusedError(str(error.args[0]) if error.args else type(error).__name__) from error

    def _fill_in(self, values: dict[str, Any]) -> None:
        for field in self._fields:
            if field.name in values:
                continue
            if field.missing is not None:
                values[field.name] = field.missing()
            elif field.required:
                raise RefusedError("it is missing").inside(field.name)


class _Field:
    """One field of a record, with that of the message of the same name."""

    def __init__(self, field: "attrs.Attribute[Any]", hint: Any, descriptor: FieldDescriptor) -> None:
        self.name = field.name
        self.number = descriptor.number
        inner = _without_none(hint)
        self.optional = inner is not hint
        if not descriptor.is_repeated and not descriptor.has_presence:
            raise TypeError(f"{descriptor.full_name} must be `optional`: a figure that is missing is not 0")
        self.write, self.read, self.missing = _codec(inner, descriptor)
        if self.optional:
            if descriptor.is_repeated:
                raise TypeError(f"{descriptor.full_name} cannot be missing: a list is empty on the wire, not missing")
            self.missing = _none
        self.required = field.default is attrs.NOTHING


def _values_of(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Return what reads these attributes in one call, which for one of them is no tuple by itself."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda record: tuple(getattr(record, name) for name in names)


def _none() -> None:
    return None


_CODECS: dict[type[Any], RecordCodec] = {}


def codec_of(kind: type[Any]) -> RecordCodec:
    """Return the codec of a class of records.

    Raises:
        TypeError: if there is no message for this class, or it does not hold all of its fields.
    """
    if (codec := _CODECS.get(kind)) is None:
        if not attrs.has(kind):
            raise TypeError(f"{kind.__name__} is no attrs class")
        codec = _CODECS[kind] = RecordCodec(kind)
    return codec


def _without_none(hint: Any) -> Any:
    """The type without None, if it is a union with None; else the type itself."""
    if get_origin(hint) not in (Union, types.UnionType) or type(None) not in get_args(hint):
        return hint
    rest = tuple(inner for inner in get_args(hint) if inner is not type(None))
    return reduce(or_, rest)


def _codec(hint: Any, field: FieldDescriptor) -> Codec:
    """Return how a value of this type is held by this field of a message.

    Raises:
        TypeError: if it is not held by a field of this type.
    """
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return _mapping(get_args(hint), field.message_type)
    return _collection(hint, field) if field.is_repeated else _single(hint, field)


def _single(hint: Any, field: FieldDescriptor) -> Codec:
    if (scalar := _SCALARS.get((hint, field.type))) is not None:
        return scalar(field)
    codec = None
    if field.message_type is not None:
        codec = _message(hint, field.message_type)
    elif field.type == FieldDescriptor.TYPE_ENUM and _is_class(hint, Enum):
        codec = scalars.member_of(hint)(field)
    elif field.type == FieldDescriptor.TYPE_STRING:
        codec = _word(hint, field)
    if codec is None:
        raise TypeError(f"{field.full_name} cannot hold {hint}")
    return codec


def _message(hint: Any, message: Descriptor) -> Codec | None:
    if hint is datetime and message.full_name == "google.protobuf.Timestamp":
        return scalars.time()
    if message.full_name == f"{PACKAGE}.Value":
        return plain_values.codec(_plain_types(hint))
    if attrs.has(hint):
        codec = codec_of(hint)
        return Codec(codec.write, codec.read) if codec.message.DESCRIPTOR.full_name == message.full_name else None
    return _list_in_a_message(hint, message) if [field.name for field in message.fields] == ["items"] else None


def _plain_types(hint: Any) -> tuple[type, ...] | None:
    """The types that a union names; None for any plain data."""
    return None if hint is Any else get_args(hint)


def _list_in_a_message(hint: Any, message: Descriptor) -> Codec:
    """Where a list cannot stand by itself: as a value in a mapping."""
    wrap, items = GetMessageClass(message), _collection(hint, message.fields[0])
    return Codec(lambda values: wrap(items=items.write(values)), lambda held: items.read(held.items))


def _word(hint: Any, field: FieldDescriptor) -> Codec | None:
    if _is_class(hint, StrEnum):
        return scalars.word(hint, others=False)(field)
    kinds = [kind for kind in get_args(hint) if _is_class(kind, StrEnum)]
    return scalars.word(kinds[0], others=True)(field) if kinds and str in get_args(hint) else None


def _is_class(hint: Any, base: type) -> bool:
    return isinstance(hint, type) and issubclass(hint, base)


def _mapping(arguments: tuple[Any, ...], entry: Descriptor) -> Codec:
    key, value = (_codec(hint, field) for hint, field in zip(arguments, entry.fields, strict=True))

    def write(values: Any) -> dict[Any, Any]:
        if not isinstance(values, Mapping):
            raise RefusedError(f"expected a mapping, got {got(values)}")
        return {_item(key.write, name, name): _item(value.write, name, held) for name, held in values.items()}

    def read(values: Any) -> dict[Any, Any]:
        return {key.read(name): _item(value.read, name, held) for name, held in values.items()}

    return Codec(write, read, dict)


def _collection(hint: Any, field: FieldDescriptor) -> Codec:
    kind = get_origin(hint)
    if kind not in (tuple, list, frozenset):
        raise TypeError(f"{field.full_name} cannot hold {hint}")
    inner = get_args(hint)[0]
    may_be_missing = _without_none(inner) is float and inner is not float
    item = scalars.figure_or_missing(field) if may_be_missing else _single(inner, field)

    def write(values: Any) -> list[Any]:
        if not isinstance(values, kind):
            raise RefusedError(f"expected a {kind.__name__}, got {got(values)}")
        written = [_item(item.write, place, held) for place, held in enumerate(values)]
        return sorted(written) if kind is frozenset else written

    def read(values: Any) -> Any:
        return kind(_item(item.read, place, held) for place, held in enumerate(values))

    return Codec(write, read, kind)


def _item(convert: Callable[[Any], Any], place: Any, value: Any) -> Any:
    try:
        return convert(value)
    except RefusedError as refused:
        raise refused.inside(f"[{place!r}]") from None


_F = FieldDescriptor
_WHOLE = (_F.TYPE_INT32, _F.TYPE_INT64, _F.TYPE_UINT32, _F.TYPE_UINT64, _F.TYPE_SINT32, _F.TYPE_SINT64)

#: The types of a message's fields that hold a type as it is.
_SCALARS: dict[tuple[Any, int], Callable[[FieldDescriptor], Codec]] = {
    (str, _F.TYPE_STRING): scalars.text,
    (bool, _F.TYPE_BOOL): scalars.truth,
    (bytes, _F.TYPE_BYTES): scalars.binary,
    (int, _F.TYPE_STRING): scalars.digits,
    **{(int, kind): scalars.integer for kind in _WHOLE},
    (float, _F.TYPE_DOUBLE): scalars.figure,
}
