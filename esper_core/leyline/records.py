"""Records as plain data, for logs and files."""

from array import array
from collections.abc import Mapping
from enum import Enum, IntEnum
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
