"""Attributes as OpenTelemetry takes them."""

from collections.abc import Mapping
from typing import Any

#: No text is longer, in characters.
_LONGEST = 4000

Attribute = str | bool | int | float


def attributes(data: Mapping[str, Any], prefix: str = "esper.") -> dict[str, Attribute]:
    """Return what is plain of a payload, and what its mappings hold, by dotted names; what is missing is left out."""
    found: dict[str, Attribute] = {}
    for key, value in data.items():
        name = f"{prefix}{text(str(key))}"
        if isinstance(value, Mapping):
            found |= attributes(value, f"{name}.")
        elif isinstance(value, str):
            found[name] = text(value)
        elif isinstance(value, bool | float) or (isinstance(value, int) and -(2**63) <= value < 2**63):
            found[name] = value
    return found


def text(value: str) -> str:
    """Return a text that can be encoded, and is not too long."""
    return value.encode("utf-8", "backslashreplace").decode()[:_LONGEST]
