"""Plain data of any shape as messages: None, booleans, integers, numbers, text, lists, mappings, and tensors."""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from esper_leyline_proto import scalars
from esper_leyline_proto.scalars import Codec, RefusedError, got
from esper_leyline_proto.tensors import is_tensor, read_tensor, write_tensor
from esper_leyline_proto.v1.value_pb2 import Table, Value, Values

#: How deep lists and mappings may be nested. protobuf reads 100 levels of messages, of which each takes up to three.
DEEPEST = 24

_FIELDS: Any = Value.DESCRIPTOR.fields_by_name
_TEXT = scalars.text(_FIELDS["text"])
_DIGITS = scalars.digits(_FIELDS["large_integer"])


def codec(accepted: tuple[type, ...] | None) -> Codec:
    """Return the codec of plain data: of these types only, or of any.

    A tuple comes back as a list, and a text or a number of a subclass as what it is a subclass of.
    """
    if accepted is None:
        return Codec(write_value, read_value)

    def checked(value: Any) -> Any:
        if not isinstance(value, accepted) or (isinstance(value, bool) and bool not in accepted):
            names = ", ".join(kind.__name__ for kind in accepted)
            raise RefusedError(f"expected one of {names}, got {got(value)}")
        return value

    return Codec(lambda value: write_value(checked(value)), lambda message: checked(read_value(message)))


def write_value(value: Any, depth: int = 0) -> Value:
    """Return plain data as a message."""
    if value is None:
        return Value(none=True)
    if isinstance(value, bool):
        return Value(truth=value)
    if isinstance(value, str):
        return Value(text=_TEXT.write(value))
    if isinstance(value, float):
        return Value(number=value)
    if isinstance(value, int) and not isinstance(value, Enum):
        small = -(2**63) <= value < 2**63
        return Value(integer=value) if small else Value(large_integer=_DIGITS.write(value))
    if is_tensor(value):
        return Value(tensor=write_tensor(value))
    return _write_nested(value, depth)


def _write_nested(value: Any, depth: int) -> Value:
    if depth >= DEEPEST:
        raise RefusedError(f"lists and mappings are nested more than {DEEPEST} deep")
    if isinstance(value, Mapping):
        items = {}
        for name, item in value.items():
            if not isinstance(name, str):
                raise RefusedError(f"expected text for the name of an entry, got {got(name)}")
            items[_TEXT.write(name)] = _at(name, write_value, item, depth + 1)
        return Value(table=Table(items=items))
    if isinstance(value, list | tuple):
        return Value(list=Values(items=[_at(at, write_value, item, depth + 1) for at, item in enumerate(value)]))
    raise RefusedError(f"expected plain data, got {got(value)}")


def read_value(message: Value) -> Any:
    """Return the plain data that a message holds."""
    match message.WhichOneof("kind"):
        case "none":
            return None
        case "large_integer":
            return _DIGITS.read(message.large_integer)
        case "list":
            return [_at(at, read_value, item) for at, item in enumerate(message.list.items)]
        case "table":
            return {name: _at(name, read_value, item) for name, item in message.table.items.items()}
        case "tensor":
            return read_tensor(message.tensor)
        case None:
            raise RefusedError("it is of a kind that this version does not know")
        case kind:
            return getattr(message, kind)


def _at(place: Any, convert: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return convert(*arguments)
    except RefusedError as refused:
        raise refused.inside(f"[{place!r}]") from None
