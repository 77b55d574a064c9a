"""Which events of a run go to its sinks. It depends on the events alone, so that a resumed run has the same log."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field, frozen, setters, validators

from esper_core.leyline.actions import GovernorMode
from esper_core.leyline.events import Event, EventKind, Level
from esper_nissa.telemetry_rules import TelemetryRules

#: What the names of a policy's figures begin with that are above zero where something is wrong.
ANOMALY = "anomaly: "

#: What may be one.
_ANOMALIES = frozenset({EventKind.GOVERNOR_INTERVENED, EventKind.ROLLBACK, EventKind.ROUND_FINISHED})

_COUNT = validators.and_(validators.instance_of(int), validators.ge(0))


@define(kw_only=True, on_setattr=setters.NO_OP)
class TelemetryState:
    """What became of a run's events before any sink: a part of its checkpoints and of its result.

    Attributes:
        kept: events that went to the sinks.
        left_out: events that the limit kept from them.
        escalations: how often an anomaly raised the level.
        round, epoch: the newest epoch of which there was an event; -1 before the first.
        debug_epochs_left: for how many epochs after that one the level stays raised; None: it is not.
    """

    kept: int = field(default=0, validator=_COUNT)
    left_out: int = field(default=0, validator=_COUNT)
    escalations: int = field(default=0, validator=_COUNT)
    round: int = field(default=0, validator=_COUNT)
    epoch: int = field(default=-1, validator=[validators.instance_of(int), validators.ge(-1)])
    debug_epochs_left: int | None = field(default=None, validator=validators.optional(_COUNT))


@frozen(kw_only=True)
class Volume:
    """How much was told of a run, for its result.

    Attributes:
        level: the level that was set.
        events: events that went to the sinks.
        left_out: events that the limit kept from them.
        escalations: how often an anomaly raised the level.
    """

    level: Level
    events: int
    left_out: int
    escalations: int


@define
class EventFilter:
    """Decides about one event after the other.

    Attributes:
        rules: how much is wanted.
        state: what has become of the events so far.
        levels: of kinds of events that plugins have registered.
    """

    rules: TelemetryRules
    state: TelemetryState = field(factory=TelemetryState)
    levels: dict[str, Level] = field(factory=dict)

    def volume(self) -> Volume:
        """Say how much has been told so far."""
        state = self.state
        return Volume(level=self.rules.level, events=state.kept, left_out=state.left_out, escalations=state.escalations)

    def passed(self, event: Event) -> Sequence[Event]:
        """Return what goes to the sinks on account of an event: itself or not, and changes of the level."""
        state, rules = self.state, self.rules
        new_epoch = event.epoch is not None and (event.round, event.epoch) > (state.round, state.epoch)
        told = self._epoch_begins(event) if new_epoch else []
        level = self.levels.get(event.kind, event.level) if self.levels else event.level
        if level <= (rules.level if state.debug_epochs_left is None else Level.DEBUG):
            if level <= Level.MINIMAL or rules.max_events is None or state.kept < rules.max_events:
                state.kept += 1
                told.append(event)
            else:
                told += self._left_out(event)
        if rules.escalation_epochs and event.kind in _ANOMALIES and (why := anomaly(event)) is not None:
            told += self._escalate(event, why)
        return told

    def _epoch_begins(self, event: Event) -> list[Event]:
        state = self.state
        state.round, state.epoch = event.round, state.epoch if event.epoch is None else event.epoch
        if state.debug_epochs_left is None:
            return []
        if state.debug_epochs_left > 0:
            state.debug_epochs_left -= 1
            return []
        state.debug_epochs_left = None
        return [self._changed(event, self.rules.level, "the epochs after the anomaly are over")]

    def _escalate(self, event: Event, why: str) -> list[Event]:
        raised, self.state.debug_epochs_left = self.state.debug_epochs_left is None, self.rules.escalation_epochs
        if not raised:
            return []
        self.state.escalations += 1
        return [self._changed(event, Level.DEBUG, why)]

    def _left_out(self, event: Event) -> list[Event]:
        self.state.left_out += 1
        if self.state.left_out > 1:
            return []
        return [self._changed(event, Level.MINIMAL, f"there were {self.rules.max_events:,} events")]

    def _changed(self, event: Event, level: Level, why: str) -> Event:
        self.state.kept += 1
        data = {"level": level.name, "reason": why}
        return Event(kind=EventKind.TELEMETRY_CHANGED, epoch=event.epoch, round=event.round, data=data)


def anomaly(event: Event) -> str | None:
    """Return why an event is an anomaly, None if it is none."""
    data = event.data
    if event.kind is EventKind.GOVERNOR_INTERVENED and data.get("mode", GovernorMode.NORMAL) != GovernorMode.NORMAL:
        return f"the governor of {event.host} intervened: {data.get('reason')}"
    if event.kind is EventKind.ROLLBACK:
        return f"{event.host} was rolled back: {data.get('reason')}"
    if event.kind is EventKind.ROUND_FINISHED:
        return _found_in_learning(data.get("figures", {}))
    return None


def _found_in_learning(figures: Mapping[str, Any]) -> str | None:
    found = [name.removeprefix(ANOMALY) for name, value in figures.items() if name.startswith(ANOMALY) and value > 0]
    return f"what the policy learned from: {', '.join(found)}" if found else None
