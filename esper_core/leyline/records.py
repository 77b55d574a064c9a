"""Records as plain data, for logs and files."""

import json
from array import array
from collections.abc import Mapping
from enum import Enum, IntEnum
from math import isfinite, isnan
from typing import Any

import attrs

#: Field metadata: the field is left out of `plain` (bulky measurements that stay in memory).
BULKY: Mapping[str, Any] = {"esper_bulky": True}


def plain(value: Any) -> Any:
    """Return `value` as dicts, lists, strings, numbers, booleans and None.

    Integer enumerations become their names, string enumerations their values. Fields marked `BULKY` are left out.

    Raises:
        TypeError: if something has no plain form.
    """
    if value is None or (isinstance(value, bool | str) and not isinstance(value, Enum)):
        return value
    if isinstance(value, Enum):
        return value.name if isinstance(value, IntEnum) else value.value
    if isinstance(value, int | float):
        return value
    if attrs.has(type(value)):
        fields = attrs.fields(type(value))
        return {f.name: plain(getattr(value, f.name)) for f in fields if not f.metadata.get("esper_bulky")}
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | array):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(plain(item) for item in value)
    raise TypeError(f"{type(value).__name__} has no plain form")


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Return the plain form of `value` as strict JSON, non-ASCII text as it is.

    JSON has no NaN and no infinity: they become the texts ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``, which
    ``float`` reads back.

    Raises:
        TypeError: if something has no plain form.
    """
    data = plain(value)
    try:
        return json.dumps(data, ensure_ascii=False, allow_nan=False, indent=indent)
    except ValueError:
        return json.dumps(_finite(data), ensure_ascii=False, allow_nan=False, indent=indent)


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
