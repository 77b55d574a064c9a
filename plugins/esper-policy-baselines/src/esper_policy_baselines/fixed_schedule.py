"""Doing again what was done in a recorded run, whatever the figures say."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from esper_core.api import (
    Action,
    Blend,
    Catalogue,
    Decision,
    EsperError,
    EventKind,
    Op,
    PolicyState,
    Round,
    Situation,
    did_you_mean,
)
from esper_policy_baselines.config import FixedScheduleConfig

#: The file of a run's directory that its actions are in.
EVENTS = "events.jsonl"


@frozen(kw_only=True)
class Scheduled:
    """An action and the epoch before which it was done."""

    epoch: int
    action: Action


#: What is to be done, by host, oldest first.
Schedule = Mapping[str, tuple[Scheduled, ...]]


class FixedSchedule:
    """Repeats the actions of a run, each at its epoch, or at the first later one at which it is possible.

    With the run's own configuration the run is repeated. On another host a gate may pass later, or never: of a slot's
    actions that are due the first possible one is done, and those before it are given up.

    Args:
        config: its options.
        catalogue: the run's blueprints.

    Raises:
        EsperError: E505 if there is no such run, E508 if its events cannot be read, E204 if it germinated a blueprint
            that is not in the catalogue.
    """

    def __init__(self, config: FixedScheduleConfig, catalogue: Catalogue) -> None:
        self._schedule: Schedule = {} if config.run is None else read_schedule(Path(config.run), config.round)
        _refuse_unknown(self._schedule, catalogue)
        self._done: dict[str, int] = {}

    def reset(self, begun: Round) -> None:
        """Begin a round, and with it the schedule of each host."""
        self._done = dict.fromkeys(begun.hosts, 0)

    def decide(self, situations: Sequence[Situation]) -> Sequence[Decision]:
        """Return what is due on each host and possible: at most one action for each slot."""
        return [Decision(actions=self._due(situation)) for situation in situations]

    def state(self) -> PolicyState:
        """Return which of the actions of each host are done or given up, as bits of a number."""
        return PolicyState(record={"done": dict(self._done)})

    def restore(self, state: PolicyState) -> None:
        """Go on from such a state."""
        self._done = dict(state.record["done"])

    def _due(self, situation: Situation) -> list[Action]:
        epoch, actions = situation.observation.host.epoch, []
        planned = self._of(situation.host)
        for slot in situation.masks.slots:
            waiting = [i for i in self._open(situation.host) if planned[i].action.slot == slot]
            due = [i for i in waiting if planned[i].epoch <= epoch]
            first = next((i for i in due if situation.masks.allows(planned[i].action)), None)
            if first is not None:
                self._finish(situation.host, [i for i in due if i <= first])
                was = planned[first].epoch
                when = "" if was == epoch else f", {epoch - was} epochs late"
                actions.append(evolve(planned[first].action, reason=f"scheduled for epoch {was}{when}"))
        return actions

    def _of(self, host: str) -> tuple[Scheduled, ...]:
        """The host's own schedule; that of the first recorded host for one that has none."""
        return self._schedule.get(host) or next(iter(self._schedule.values()), ())

    def _open(self, host: str) -> list[int]:
        done = self._done.get(host, 0)
        return [index for index in range(len(self._of(host))) if not done >> index & 1]

    def _finish(self, host: str, indices: Sequence[int]) -> None:
        for index in indices:
            self._done[host] = self._done.get(host, 0) | 1 << index


def read_schedule(run: Path, number: int = 0) -> Schedule:
    """Return what was done in a round of a run, without what the governor denied.

    Args:
        run: the run's directory.
        number: of the round.

    Raises:
        EsperError: E505 if there is no run, E508 if its events cannot be read.
    """
    path = run / EVENTS
    if not path.is_file():
        fix = "name the directory of a run whose sinks were told of actions, such as runs/digits-1"
        raise EsperError("E505", f'there is no run "{run}" with events', where=str(path), fix=fix)
    try:
        events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
        return _scheduled([event for event in events if event.get("round", 0) == number])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EsperError("E508", "the events of a run cannot be read", where=str(path), why=str(error)) from error


def _scheduled(events: Sequence[Mapping[str, Any]]) -> Schedule:
    denied = {it["data"]["action_id"] for it in events if it["kind"] == EventKind.ACTION_DENIED}
    found: dict[str, tuple[Scheduled, ...]] = {}
    for event in events:
        if event["kind"] != EventKind.ACTION_DECIDED or event["data"]["id"] in denied:
            continue
        if (action := _action(event["data"])).op is not Op.WAIT:
            scheduled = Scheduled(epoch=event["epoch"], action=action)
            found[event["host"]] = (*found.get(event["host"], ()), scheduled)
    return found


def _action(data: Mapping[str, Any]) -> Action:
    blend = data.get("blend")
    op = data["op"]
    return Action(
        op=Op[op] if isinstance(op, str) else Op(op),
        slot=data.get("slot"),
        blueprint=data.get("blueprint"),
        blend=None if blend is None else Blend(blend),
        ramp_epochs=data.get("ramp_epochs"),
        policy="fixed-schedule",
    )


def _blueprints(schedule: Schedule) -> Iterator[str]:
    for planned in schedule.values():
        yield from (it.action.blueprint for it in planned if it.action.blueprint is not None)


def _refuse_unknown(schedule: Schedule, catalogue: Catalogue) -> None:
    for name in _blueprints(schedule):
        if name not in catalogue.names:
            raise EsperError(
                "E204",
                f'the recorded run germinated "{name}", which is not in the catalogue',
                where="policy.run",
                why=did_you_mean(name, catalogue.names),
                fix="name it in policy.blueprints",
            )
