"""Records as plain data, for logs and files."""

import json
from array import array
from collections.abc import Mapping
from enum import Enum, IntEnum
from functools import cache
from math import isfinite, isnan
from typing import Any

import attrs

#: Field metadata: the field is left out of `plain` (bulky measurements that stay in memory).
BULKY: Mapping[str, Any] = {"esper_bulky": True}

_STRICT: dict[str, Any] = {"ensure_ascii": False, "allow_nan": False}
_LINE = json.JSONEncoder(**_STRICT)
_AS_IT_IS = frozenset({str, int, float, bool, type(None)})


def plain(value: Any) -> Any:
    """Return `value` as dicts, lists, strings, numbers, booleans and None.

    Integer enumerations become their names, string enumerations their values. Fields marked `BULKY` are left out.

    Raises:
        TypeError: if something has no plain form.
    """
    # Most of what comes, first: a log has thousands of events a second.
    if (kind := type(value)) in _AS_IT_IS:
        return value
    if kind is dict:
        return {key if type(key) is str else str(plain(key)): plain(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return value.name if isinstance(value, IntEnum) else value.value
    if isinstance(value, int | float | str):
        return value
    if attrs.has(kind):
        return {name: plain(getattr(value, name)) for name in _names(kind)}
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | array):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(plain(item) for item in value)
    raise TypeError(f"{type(value).__name__} has no plain form")


@cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(kind) if not field.metadata.get("esper_bulky"))


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Return the plain form of `value` as strict JSON, non-ASCII text as it is.

    JSON has no NaN and no infinity: they become the texts ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``, which
    ``float`` reads back.

    Raises:
        TypeError: if something has no plain form.
    """
    data = plain(value)
    try:
        return _LINE.encode(data) if indent is None else json.dumps(data, **_STRICT, indent=indent)
    except ValueError:
        return json.dumps(_finite(data), **_STRICT, indent=indent)


def _finite(data: Any) -> Any:
    if isinstance(data, float) and not isfinite(data):
        return "NaN" if isnan(data) else "Infinity" if data > 0 else "-Infinity"
    if isinstance(data, dict):
        return {key: _finite(item) for key, item in data.items()}
    return [_finite(item) for item in data] if isinstance(data, list) else data


def with_numbers(data: Any) -> Any:
    """Return what JSON gave with the numbers in it for which `to_json` wrote a text."""
    if isinstance(data, str):
        return float(data) if data in ("NaN", "Infinity", "-Infinity") else data
    if isinstance(data, Mapping):
        return {key: with_numbers(item) for key, item in data.items()}
    return [with_numbers(item) for item in data] if isinstance(data, list) else data
