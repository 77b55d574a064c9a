"""How much of a run is told: levels, escalation after an anomaly, the limit, and the same after a resume."""

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esper_core.leyline.events import Event, EventKind, Level
from esper_core.leyline.records import plain
from esper_nissa.event_filter import EventFilter, TelemetryState
from esper_nissa.hub import Hub
from esper_nissa.telemetry_rules import MAX_EVENTS, TelemetryRules

#: Without these nobody can say what became of the network, or of the run.
ALWAYS = {
    EventKind.RUN_STARTED,
    EventKind.SEED_TRANSITION,
    EventKind.SEED_FINISHED,
    EventKind.GOVERNOR_INTERVENED,
    EventKind.ROLLBACK,
    EventKind.PLUGIN_FAILED,
    EventKind.NOTICE,
    EventKind.ALERT,
    EventKind.TELEMETRY_CHANGED,
    EventKind.ROUND_FINISHED,
    EventKind.RUN_FINISHED,
}
CALM: dict[str, Any] = {"mode": "normal", "reason": "", "figures": {"entropy": 0.5}}


def event(kind: EventKind, epoch: int | None = 0, number: int = 0, **data: Any) -> Event:
    return Event(kind=kind, host="grown", epoch=epoch, round=number, data=CALM | data)


def told(events: Iterable[Event], rules: TelemetryRules, state: TelemetryState | None = None) -> list[Event]:
    chosen = EventFilter(rules, state or TelemetryState())
    return [passed for one in events for passed in chosen.passed(one)]


def epochs(first: int, last: int, number: int = 0) -> list[Event]:
    kinds = (EventKind.GATES_EVALUATED, EventKind.EPOCH_COMPLETED)
    return [event(kind, epoch, number) for epoch in range(first, last) for kind in kinds]


PANIC = event(EventKind.GOVERNOR_INTERVENED, 3, mode="conservative", reason="the loss rose")
ANOMALIES = [
    PANIC,
    event(EventKind.ROLLBACK, 3, reason="not finite"),
    event(EventKind.ROUND_FINISHED, None, figures={"anomaly: value collapse": 1.0}),
]
NO_ANOMALIES = [
    event(EventKind.GOVERNOR_INTERVENED, 3, mode="normal"),
    event(EventKind.ROUND_FINISHED, None, figures={"anomaly: value collapse": 0.0, "entropy": 1.0}),
    event(EventKind.PLUGIN_FAILED, 3),
]


@pytest.mark.parametrize("level", [Level.MINIMAL, Level.NORMAL, Level.DEBUG])
def test_what_became_of_seeds_and_of_the_run_is_told_at_every_level(level: Level) -> None:
    kinds = {one.kind for one in told(map(event, EventKind), TelemetryRules(level=level, escalation_epochs=0))}
    more = {
        Level.MINIMAL: set(),
        Level.NORMAL: set(EventKind) - {EventKind.GATES_EVALUATED},
        Level.DEBUG: set(EventKind),
    }
    assert kinds == ALWAYS | more[level]


def test_nothing_is_told_at_the_level_off() -> None:
    assert told([*map(event, EventKind), *ANOMALIES], TelemetryRules(level=Level.OFF)) == []


@pytest.mark.parametrize("anomaly", ANOMALIES, ids=lambda it: it.kind)
def test_after_an_anomaly_everything_is_told_for_a_while(anomaly: Event) -> None:
    events = told([*epochs(0, 4), anomaly, *epochs(4, 9)], TelemetryRules(escalation_epochs=2))
    assert [it.epoch for it in events if it.kind is EventKind.GATES_EVALUATED] == [4, 5]
    raised, lowered = (it for it in events if it.kind is EventKind.TELEMETRY_CHANGED)
    assert (raised.data["level"], lowered.data["level"], lowered.epoch) == ("DEBUG", "NORMAL", 6)
    assert events[events.index(raised) - 1] is anomaly
    assert any(word in raised.data["reason"] for word in ("the loss rose", "not finite", "value collapse"))


@pytest.mark.parametrize("calm", NO_ANOMALIES, ids=lambda it: f"{it.kind}")
def test_what_is_no_anomaly_changes_nothing(calm: Event) -> None:
    events = told([*epochs(0, 4), calm, *epochs(4, 9)], TelemetryRules(escalation_epochs=2))
    assert not {it.kind for it in events} & {EventKind.TELEMETRY_CHANGED, EventKind.GATES_EVALUATED}


def test_another_anomaly_makes_it_last_longer_and_is_counted_once() -> None:
    state, again = TelemetryState(), event(EventKind.ROLLBACK, 4, reason="again")
    events = told(
        [*epochs(0, 4), PANIC, *epochs(4, 5), again, *epochs(5, 9)], TelemetryRules(escalation_epochs=2), state
    )
    assert [it.epoch for it in events if it.kind is EventKind.GATES_EVALUATED] == [4, 5, 6]
    assert [it.data["level"] for it in events if it.kind is EventKind.TELEMETRY_CHANGED] == ["DEBUG", "NORMAL"]
    assert state.escalations == 1


def test_epochs_are_counted_over_rounds_too() -> None:
    learned = event(EventKind.ROUND_FINISHED, None, 0, figures={"anomaly: ratio explosion": 1.0})
    events = told([*epochs(0, 3), learned, *epochs(0, 4, number=1)], TelemetryRules(escalation_epochs=2))
    assert [(it.round, it.epoch) for it in events if it.kind is EventKind.GATES_EVALUATED] == [(1, 0), (1, 1)]


def test_behind_the_limit_only_that_is_told_without_which_nothing_is_known() -> None:
    state = TelemetryState()
    ended = event(EventKind.SEED_TRANSITION, 6)
    events = told([*epochs(0, 6), ended, *epochs(6, 9)], TelemetryRules(max_events=4), state)
    assert [it.epoch for it in events if it.kind is EventKind.EPOCH_COMPLETED] == [0, 1, 2, 3]
    assert ended in events
    (changed,) = (it for it in events if it.kind is EventKind.TELEMETRY_CHANGED)
    assert (changed.epoch, changed.data["level"]) == (4, "MINIMAL")
    assert (state.kept, state.left_out) == (len(events), 5)


STREAM = [*epochs(0, 4), PANIC, *epochs(4, 8), event(EventKind.SEED_TRANSITION, 8), *epochs(8, 12)]


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, len(STREAM)), limit=st.none() | st.integers(0, 20), escalation=st.integers(0, 4))
def test_a_run_that_goes_on_is_told_as_one_that_was_left_alone(cut: int, limit: int | None, escalation: int) -> None:
    rules = TelemetryRules(escalation_epochs=escalation, max_events=limit)
    whole = told(STREAM, rules)
    hub = Hub({}, rules=rules)
    before = EventFilter(rules)
    first = [passed for one in STREAM[:cut] for passed in before.passed(one)]
    hub.restore_telemetry(json.loads(json.dumps(plain(before.state))))
    assert first + told(STREAM[cut:], rules, hub.telemetry) == whole


@pytest.mark.parametrize(
    "rules",
    [
        {"level": Level.DEBUG, "escalation_epochs": 1},
        {"level": Level.OFF, "escalation_epochs": 1},
        {"level": Level.OFF, "max_events": 1},
        {"level": Level.MINIMAL, "escalation_epochs": 0, "max_events": 1},
        {"escalation_epochs": -1},
        {"max_events": -1},
    ],
)
def test_what_would_do_nothing_is_refused(rules: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be|escalation_epochs|max_events"):
        TelemetryRules(**rules)


@pytest.mark.parametrize("level", [*Level])
def test_what_is_not_set_fits_the_level(level: Level) -> None:
    rules = TelemetryRules(level=level)
    assert (rules.escalation_epochs > 0) == (level in (Level.MINIMAL, Level.NORMAL))
    assert rules.max_events == (None if level is Level.OFF else MAX_EVENTS)


class Keeping:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def open(self, manifest: Any) -> None: ...
    def emit(self, events: Any) -> None:
        self.events.extend(events)

    def flush(self) -> None: ...
    def close(self) -> None: ...


def test_every_event_says_when_and_of_what_it_is() -> None:
    sink = Keeping()
    with Hub({"sink": sink}, clock=lambda: 100.0) as hub:
        hub.open({"name": "digits-1"})
        hub.emit(event(EventKind.SEED_TRANSITION, 3, 2, slot="block1", seed_id="block1-0"))
        hub.emit(event(EventKind.EPOCH_COMPLETED, 3, 2))
        hub.emit(event(EventKind.REWARD_COMPUTED, 3, 2, slot=7))
    moved, over, odd = sink.events
    assert (moved.run, moved.round, moved.host, moved.epoch) == ("digits-1", 2, "grown", 3)
    assert (moved.slot, moved.seed_id) == ("block1", "block1-0")
    assert (over.slot, over.seed_id, odd.slot) == (None, None, None)
    assert [it.time for it in sink.events] == [100.0] * 3
    assert all(0 <= one.monotonic <= other.monotonic for one, other in pairwise(sink.events))
    assert hub.volume().events == 3
