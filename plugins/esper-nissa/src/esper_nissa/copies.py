"""Copies of events and manifests, so that no sink can change what another one is handed."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from esper_core.leyline.events import Event

#: What nobody can change.
_UNCHANGING = frozenset({str, int, float, bool, type(None)})


def own_copies(batch: Sequence[Event]) -> tuple[Event, ...]:
    """Return copies of events: a sink may do with them what it likes."""
    return tuple(attrs.evolve(event, data=copied(event.data)) for event in batch)


def copied(value: Any) -> Any:
    """Return a copy of plain data that shares nothing that can change."""
    if (kind := type(value)) in _UNCHANGING:
        return value
    if isinstance(value, Mapping):
        return {key: copied(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return kind(map(copied, value)) if kind in (list, tuple) else [*map(copied, value)]
    return value
