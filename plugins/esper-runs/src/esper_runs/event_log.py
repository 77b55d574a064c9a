"""A run's event log, read as far as it goes: runs are killed, disks fill up, and a log may still be growing."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from esper_runs.reading import parse_json, read_regular

#: What makes an object an event. Kinds that are not known here are events all the same, of a newer Esper.
_SHAPE = {"kind": str, "host": str, "data": dict, "sequence": int}


@frozen(kw_only=True)
class EventLog:
    """The events of one run.

    Attributes:
        events: plain events, oldest first.
        torn: the file ends in the middle of a line.
        damaged: lines before the last one that are no events.
        lost: numbers below that of the last event that no event has.
    """

    events: tuple[Mapping[str, Any], ...] = ()
    torn: bool = False
    damaged: int = 0
    lost: int = 0


def read_event_log(path: Path, *, inside: Path | None = None) -> EventLog | None:
    """Read a file of JSON lines; None if there is none. `inside`: a directory that it must not lead out of.

    A line that is not an event is counted and left out. An event whose number was given out before takes back
    everything from that number on, as a run does that was resumed.

    Raises:
        OSError: if there is a file that cannot be read.
    """
    try:
        text = read_regular(path, inside=inside).decode(errors="replace")
    except FileNotFoundError:
        return None
    *whole, rest = text.split("\n")
    parsed = [parse_event(line) for line in whole if line]
    last = parse_event(rest) if rest else None
    events = _as_it_happened(event for event in [*parsed, last] if event is not None)
    return EventLog(
        events=tuple(events),
        torn=bool(rest) and last is None,
        damaged=sum(event is None for event in parsed),
        lost=_missing_numbers(events),
    )


def parse_event(line: str) -> dict[str, Any] | None:
    """Return the event that a line of a log holds; None if it holds none."""
    try:
        event = parse_json(line)
    except ValueError:
        return None
    fits = isinstance(event, dict) and all(isinstance(event.get(k), t) for k, t in _SHAPE.items())
    return event if fits and event["sequence"] >= 0 else None


def _as_it_happened(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    happened: list[dict[str, Any]] = []
    for event in events:
        while happened and happened[-1]["sequence"] >= event["sequence"]:
            happened.pop()
        happened.append(event)
    return happened


def _missing_numbers(events: list[dict[str, Any]]) -> int:
    return events[-1]["sequence"] + 1 - len(events) if events else 0
