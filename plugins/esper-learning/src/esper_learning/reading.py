"""Reading many features off a record: each source once, and what comes again and again is not worked out again."""

from collections.abc import Callable, Sequence
from enum import Enum
from functools import cache
from operator import attrgetter
from typing import Any, Protocol


class Row(Protocol):
    """A row of a table of features."""

    @property
    def source(self) -> str:
        """Dotted path from the record to what is read; a number in it is an index."""

    def of(self, read: Any) -> float:
        """Return the feature of what its source holds."""


def read(record: Any, path: str) -> Any:
    """Follow a path; None as soon as something on it is not there."""
    for step in _steps(path):
        if isinstance(step, int):
            record = record[step] if -len(record) <= step < len(record) else None
        else:
            record = getattr(record, step)
        if record is None:
            return None
    return record


def values_of(rows: Sequence[Row]) -> Callable[[Any], list[float]]:
    """Return a function from a record to the features of all rows, in order."""
    places: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(row.source, []).append(place)
    sources = [(_getter(path), path, _features([rows[it] for it in at]), at) for path, at in places.items()]

    def values(record: Any) -> list[float]:
        found = [0.0] * len(rows)
        for get, path, features, at in sources:
            try:
                held = get(record)
            except AttributeError:  # something on the path is None
                held = read(record, path)
            for place, value in zip(at, features(held), strict=True):
                found[place] = value
        return found

    return values


def _features(rows: Sequence[Row]) -> Callable[[Any], Sequence[float]]:
    """What rows with the same source make of it; of None, nothing and members of enumerations it is kept."""
    kept: dict[Any, Sequence[float]] = {}

    def features(held: Any) -> Sequence[float]:
        if held is not None and held != () and not isinstance(held, Enum):
            return [row.of(held) for row in rows]
        if held not in kept:
            kept[held] = [row.of(held) for row in rows]
        return kept[held]

    return features


def _getter(path: str) -> Callable[[Any], Any]:
    if any(isinstance(step, int) for step in _steps(path)):
        return lambda record: read(record, path)
    return attrgetter(path)


@cache
def _steps(path: str) -> tuple[str | int, ...]:
    return tuple(int(step) if step.lstrip("-").isdigit() else step for step in path.split("."))
