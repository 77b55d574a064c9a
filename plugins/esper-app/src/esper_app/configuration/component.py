"""A component as a configuration names it. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen


@frozen(kw_only=True)
class ComponentConfig:
    """A component by name, with all of its options as plain data, validated and complete."""

    name: str
    options: Mapping[str, Any] = field(factory=dict)
