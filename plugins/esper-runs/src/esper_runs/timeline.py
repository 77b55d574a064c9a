"""What happened in a run, event by event, with the slot and the seed that each event is about."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from attrs import field, frozen

from esper_core.leyline.events import EventKind


@frozen(kw_only=True)
class TimelineEvent:
    """One thing that happened in a run.

    Attributes:
        kind: an event kind; GATES_EVALUATED holds one gate's verdict as `data`.
        host: the host; "" for the run as a whole.
        epoch: from 0; None outside of epochs.
        sequence: number of the event that recorded it.
        round: number of the round, from 0.
        slot, seed_id: the slot and the seed that it is about, None if there is none.
        data: as in the event. A denial also has the `action` that was denied, if that is known.
    """

    kind: str
    host: str
    epoch: int | None
    sequence: int
    round: int = 0
    slot: str | None = None
    seed_id: str | None = None
    data: Mapping[str, Any] = field(factory=dict)


#: Shown elsewhere: by the manifest, the result, the field reports, and the epochs (which hold every verdict of a gate).
_ELSEWHERE = {
    EventKind.RUN_STARTED,
    EventKind.RUN_FINISHED,
    EventKind.SEED_FINISHED,
    EventKind.GATES_EVALUATED,
    EventKind.REWARD_COMPUTED,
}


def timeline(events: Iterable[Mapping[str, Any]]) -> tuple[TimelineEvent, ...]:
    """Return everything in a log that a person wants to read, oldest first."""
    events = tuple(events)
    actions = {e["data"].get("id"): e["data"] for e in events if e["kind"] == EventKind.ACTION_DECIDED}
    begun = {
        e["data"]["action_id"]: e["data"]["seed_id"]
        for e in events
        if e["kind"] == EventKind.SEED_TRANSITION and e["data"].get("action_id")
    }
    return tuple(found for event in events for found in timeline_events(event, actions, begun))


def timeline_events(
    event: Mapping[str, Any], actions: Mapping[str | None, Mapping[str, Any]], begun: Mapping[str, str]
) -> Iterator[TimelineEvent]:
    """Yield what one event of a log adds to the timeline.

    Args:
        event: the event.
        actions: data of the actions that were decided, by id; a denial says which one was denied.
        begun: the seed that an action germinated, by the id of the action.
    """
    kind, data = event["kind"], event["data"]
    if kind == EventKind.EPOCH_COMPLETED:
        seeds = {seed["slot"]: seed["seed_id"] for seed in data.get("seeds", ())}
        for slot, results in data.get("gates", {}).items():
            for result in results:
                yield _event(event, EventKind.GATES_EVALUATED, result, slot, seeds.get(slot))
    elif kind == EventKind.ACTION_DENIED:
        action = actions.get(data["action_id"])
        yield _event(event, kind, {**data, "action": action}, action["slot"] if action else None)
    elif kind not in _ELSEWHERE:
        yield _event(event, kind, data, data.get("slot"), data.get("seed_id") or begun.get(data.get("id", "")))


def _event(
    event: Mapping[str, Any], kind: str, data: Mapping[str, Any], slot: str | None, seed_id: str | None = None
) -> TimelineEvent:
    return TimelineEvent(
        kind=str(kind),
        host=event["host"],
        epoch=event.get("epoch"),
        sequence=event["sequence"],
        round=event.get("round", 0),
        slot=slot,
        seed_id=seed_id,
        data=data,
    )
