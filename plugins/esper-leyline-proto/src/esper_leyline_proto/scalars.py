"""Values that are no records: what each type of a record's field is as a type of a message's field, and back."""

from collections.abc import Callable
from datetime import datetime
from enum import Enum, StrEnum
from math import isfinite, isnan
from typing import Any, NamedTuple

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp

from esper_leyline_proto.timestamps import at, seconds_and_microseconds
from esper_leyline_proto.v1 import options_pb2 as options

#: The digits that an integer has at most which is written in decimal.
MOST_DIGITS = 60

_F = FieldDescriptor

#: The least and the greatest number of each integer type.
_RANGES = {
    **dict.fromkeys((_F.TYPE_INT32, _F.TYPE_SINT32, _F.TYPE_SFIXED32), (-(2**31), 2**31 - 1)),
    **dict.fromkeys((_F.TYPE_INT64, _F.TYPE_SINT64, _F.TYPE_SFIXED64), (-(2**63), 2**63 - 1)),
    **dict.fromkeys((_F.TYPE_UINT32, _F.TYPE_FIXED32), (0, 2**32 - 1)),
    **dict.fromkeys((_F.TYPE_UINT64, _F.TYPE_FIXED64), (0, 2**64 - 1)),
}


class RefusedError(Exception):
    """A value does not fit; `path` leads to it from the record that was asked for."""

    def __init__(self, why: str, path: str = "") -> None:
        super().__init__(why, path)
        self.why = why
        self.path = path

    def inside(self, name: str) -> "RefusedError":
        """Return the same, seen from one record further out."""
        return RefusedError(self.why, f"{name}{'.' if self.path and self.path[0] != '[' else ''}{self.path}")


class Codec(NamedTuple):
    """How one value is written into a message and read from it.

    Attributes:
        write: what a record holds to what a message holds; None: it is left out.
        read: the reverse.
        missing: what a record holds where the message holds nothing; an exception without such a value.
    """

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]
    missing: Callable[[], Any] | None = None


def got(value: Any) -> str:
    """Return a value as an error shows it, with its type, in at most 60 characters."""
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:60] + '...'}"


def non_finite(field: _F) -> int:
    """Return what the `.proto` file says about figures in this field that are not finite."""
    extensions: Any = field.GetOptions().Extensions
    return int(extensions[options.non_finite])


def text(field: _F) -> Codec:
    """``str``."""

    def write(value: Any) -> str:
        if not isinstance(value, str):
            raise RefusedError(f"expected text, got {got(value)}")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise RefusedError(f"the text {got(value)} has half of a surrogate pair and is not Unicode") from None
        return value

    return Codec(write, str)


def truth(field: _F) -> Codec:
    """``bool``."""

    def write(value: Any) -> bool:
        if not isinstance(value, bool):
            raise RefusedError(f"expected true or false, got {got(value)}")
        return value

    return Codec(write, bool)


def binary(field: _F) -> Codec:
    """``bytes``."""

    def write(value: Any) -> bytes:
        if not isinstance(value, bytes):
            raise RefusedError(f"expected bytes, got {got(value)}")
        return value

    return Codec(write, bytes)


def integer(field: _F) -> Codec:
    """``int`` in an integer field of 32 or 64 bits."""
    least, greatest = _RANGES[field.type]

    def write(value: Any) -> int:
        number = _whole(value)
        if not least <= number <= greatest:
            raise RefusedError(f"{got(number)} is not between {least} and {greatest}")
        return number

    return Codec(write, int)


def digits(field: _F) -> Codec:
    """``int`` of any size in a text field: FLOPs of a long training do not fit into 64 bits."""

    def write(value: Any) -> str:
        number = _whole(value)
        if abs(number) >= 10**MOST_DIGITS:
            raise RefusedError(f"the integer has more than {MOST_DIGITS} digits")
        return str(number)

    def read(value: str) -> int:
        unsigned = value.removeprefix("-")
        if not (unsigned.isascii() and unsigned.isdigit() and len(unsigned) <= MOST_DIGITS):
            raise RefusedError(f"expected an integer in at most {MOST_DIGITS} decimal digits, got {got(value)}")
        return int(value)

    return Codec(write, read)


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool | Enum):
        raise RefusedError(f"expected an integer, got {got(value)}")
    return value


def figure(field: _F) -> Codec:
    """``float`` in a field of 64 bits. The option ``non_finite`` says what comes of NaN and of infinities."""
    rule = non_finite(field)
    nan_is_missing = rule == options.NON_FINITE_NAN_IS_MISSING

    def write(value: Any) -> Any:
        if not isinstance(value, float):
            if not isinstance(value, int) or isinstance(value, bool):
                raise RefusedError(f"expected a number, got {got(value)}")
            if abs(value) > 2**53:
                raise RefusedError(f"{got(value)} has no exact counterpart among 64-bit floating-point numbers")
        if not isfinite(value):
            if nan_is_missing and isnan(value):
                return None
            _check_finite(value)
        return value

    def read(value: float) -> float:
        if not isfinite(value):
            _check_finite(value)
        return value

    def _check_finite(value: float) -> None:
        if rule != options.NON_FINITE_ALLOWED:
            raise RefusedError(f"{value} is not a finite number")

    return Codec(write, read, _nan if nan_is_missing else None)


def figure_or_missing(field: _F) -> Codec:
    """``float | None`` as an entry of a list, with NaN for None: entries cannot be missing on the wire."""
    if non_finite(field) != options.NON_FINITE_NAN_IS_MISSING:
        raise TypeError(f"{field.full_name} has entries that may be None, and no option that NaN stands for them")
    plain = figure(field)

    def write(value: Any) -> float:
        if value is None:
            return float("nan")
        if isinstance(value, float) and isnan(value):
            raise RefusedError("nan is not a finite number")
        return float(plain.write(value))

    return Codec(write, lambda value: None if isnan(value) else plain.read(value))


def _nan() -> float:
    return float("nan")


def time() -> Codec:
    """``datetime`` with a time zone; it comes back in UTC, to the microsecond."""

    def write(value: Any) -> Timestamp:
        if not isinstance(value, datetime):
            raise RefusedError(f"expected a point in time, got {got(value)}")
        try:
            seconds, rest = seconds_and_microseconds(value)
        except ValueError as error:
            raise RefusedError(f"{error}, got {value.isoformat()}") from None
        return Timestamp(seconds=seconds, nanos=rest * 1000)

    def read(value: Timestamp) -> datetime:
        seconds, nanos = value.seconds, value.nanos
        try:
            if not 0 <= nanos < 1_000_000_000:
                raise OverflowError
            return at(seconds, nanos // 1000)
        except OverflowError:
            raise RefusedError(f"{seconds} s and {nanos} ns are no point in time") from None

    return Codec(write, read)


def member_of(kind: type[Enum]) -> Callable[[_F], Codec]:
    """Return the codec of an enumeration: its members by name in an enumeration of the contract."""

    def codec(field: _F) -> Codec:
        enum: Any = field.enum_type
        numbers = enum_numbers(enum)
        if set(numbers) != {member.name for member in kind}:
            raise TypeError(f"{enum.full_name} and {kind.__name__} have not the same members")
        to_number = {member: numbers[member.name] for member in kind}
        to_member = {number: member for member, number in to_number.items()}

        def write(value: Any) -> int:
            if not isinstance(value, kind):
                raise RefusedError(f"expected a {kind.__name__}, got {got(value)}")
            return to_number[value]

        def read(value: int) -> Enum:
            if (member := to_member.get(value)) is None:
                raise RefusedError(f"{kind.__name__} has no member with the number {value}")
            return member

        return Codec(write, read)

    return codec


def enum_numbers(enum: EnumDescriptor) -> dict[str, int]:
    """Return the numbers of the members of an enumeration by name, without its prefix and its zero."""
    prefix = "".join(f"_{c}" if c.isupper() else c.upper() for c in enum.name).lstrip("_") + "_"
    return {value.name.removeprefix(prefix): value.number for value in enum.values if value.number != 0}


def word(kind: type[StrEnum], *, others: bool) -> Callable[[_F], Codec]:
    """Return the codec of an enumeration of words as text; others may be added to it where `others` says so."""

    def codec(field: _F) -> Codec:
        members = {member.value: member for member in kind}
        plain = text(field)

        def write(value: Any) -> str:
            if not others and not isinstance(value, kind):
                raise RefusedError(f"expected a {kind.__name__}, got {got(value)}")
            return str(plain.write(value))

        def read(value: str) -> str:
            if value not in members and not others:
                raise RefusedError(f"{kind.__name__} has no {got(value)}")
            return members.get(value, value)

        return Codec(write, read)

    return codec
