"""A run's configuration as a flat table, as programs that compare runs want it."""

from collections.abc import Mapping
from typing import Any

from esper_core.leyline.records import to_json


def flat_options(config: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    """Return every option by its dotted path; None as ``none``, a list as JSON."""
    found: dict[str, str | int | float | bool] = {}
    waiting: list[tuple[str, Any]] = list(config.items())
    while waiting:
        path, value = waiting.pop(0)
        if isinstance(value, Mapping) and value:
            waiting = [*((f"{path}.{key}", inner) for key, inner in value.items()), *waiting]
        elif value is None:
            found[path] = "none"
        else:
            found[path] = value if isinstance(value, str | int | float | bool) else to_json(value)
    return found
