"""What a run that goes on says once more: what it had said when it was killed may not have reached the bus."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import evolve

from esper_core.leyline.events import Event
from esper_runs.event_log import read_event_log
from esper_runs.metrics import event_from_log

#: So many events are said once more, the last ones: it is more than can have waited for a bus that answers.
EVENTS = 1_000


def to_repeat(manifest: Mapping[str, Any]) -> Sequence[Event]:
    """Return the last events of a run's log before the one with which it goes on, oldest first.

    A reader takes none of them twice: they have their numbers in the run. There are none of a run that begins, or that
    keeps no log.
    """
    first, directory = manifest.get("resumed_at"), manifest.get("directory")
    if first is None or directory is None:
        return ()
    log = None
    with suppress(OSError):
        log = read_event_log(Path(directory) / "events.jsonl", inside=Path(directory))
    if log is None:
        return ()
    return [_event(it) for it in [it for it in log.events if it["sequence"] < first][-EVENTS:]]


def _event(logged: Mapping[str, Any]) -> Event:
    """Return an event, of the kind that it was logged with, though this Esper may not know it."""
    event = event_from_log(logged)
    return event if event.kind == logged["kind"] else evolve(event, kind=logged["kind"])
