"""Other names for the same things: what judges by figures does not notice."""

from collections.abc import Mapping
from typing import Any

import attrs


def renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Return the same value with other names in it: each text that is a key of `names`, wherever it stands."""
    if type(value) is str:
        return names.get(value, value)
    if attrs.has(type(value)):
        fields = [field for field in attrs.fields(type(value)) if field.init]
        parts = {field.alias: renamed(getattr(value, field.name), names) for field in fields}
        return type(value)(**parts)
    if isinstance(value, Mapping):
        return {renamed(key, names): renamed(item, names) for key, item in value.items()}
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(renamed(item, names) for item in value)
    return value
