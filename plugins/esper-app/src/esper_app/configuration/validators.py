"""What values of settings must be, beyond their types."""

import re
from typing import Any

from attrs import Attribute


def check_unique(_: Any, attribute: "Attribute[Any]", value: tuple[str, ...] | None) -> None:
    """Check that nothing is named twice. Raises ValueError."""
    if value is not None and len(set(value)) < len(value):
        raise ValueError(f"'{attribute.name}' must not name anything twice: {list(value)!r}")


def check_run_name(_: Any, attribute: "Attribute[Any]", value: str) -> None:
    """Check that a run's name can be that of a folder beside others. Raises ValueError."""
    if value == "last" or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", value):
        raise ValueError(f"'{attribute.name}' must be letters, digits and . _ + -, and not \"last\": {value!r}")


def check_device(_: Any, attribute: "Attribute[Any]", value: str) -> None:
    """Check that a device has a name that torch knows, and a number where there can be several. Raises ValueError."""
    if not re.fullmatch(r"cpu|mps|(cuda|xpu)(:\d+)?", value):
        raise ValueError(f"'{attribute.name}' must be cpu, cuda, xpu or mps, or one of several as cuda:1: {value!r}")
