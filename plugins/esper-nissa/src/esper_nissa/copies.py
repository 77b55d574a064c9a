"""Copies of events and manifests, so that no sink can change what another one is handed."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from esper_core.leyline.events import Event

#: What nobody can change.
_UNCHANGING = frozenset({str, int, float, bool, type(None)})


@runtime_checkable
class ReadsOnly(Protocol):
    """A sink that needs no copies of its events, where `reads_only` is true: what it changed in them others would see.

    Every sink has to leave its events as they are, which the check ``sink-leaves-events`` looks at; but one without
    this attribute is handed copies of its own, so that a fault in it stays with it. A copy takes as long as writing it.
    """

    reads_only: bool


def own_copies(batch: Sequence[Event]) -> tuple[Event, ...]:
    """Return copies of events: a sink may do with them what it likes."""
    return tuple(map(_copied, batch))


def _copied(event: Event) -> Event:
    # `attrs.evolve` would take three times as long.
    return Event(
        kind=event.kind,
        host=event.host,
        epoch=event.epoch,
        round=event.round,
        data=copied(event.data),
        sequence=event.sequence,
        time=event.time,
        monotonic=event.monotonic,
        run=event.run,
        slot=event.slot,
        seed_id=event.seed_id,
    )


def copied(value: Any) -> Any:
    """Return a copy of plain data that shares nothing that can change."""
    if (kind := type(value)) in _UNCHANGING:
        return value
    if kind is dict:
        return {key: part if type(part) in _UNCHANGING else copied(part) for key, part in value.items()}
    if isinstance(value, Mapping):
        return {key: copied(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return kind(map(copied, value)) if kind in (list, tuple) else [*map(copied, value)]
    return value
