import signal
from collections.abc import Mapping, Sequence
from itertools import count
from time import monotonic, sleep
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esper_core.leyline.errors import EsperError
from esper_core.leyline.events import Event, EventKind, Level
from esper_nissa.hub import Hub
from esper_nissa.queue_limits import BATCH
from esper_nissa.sink_worker import MAX_ERRORS
from esper_nissa.telemetry_rules import TelemetryRules


class Recording:
    """Keeps events; raises at the calls that are listed, counted from 0."""

    def __init__(self, failing: frozenset[int] = frozenset(), error: BaseException | None = None) -> None:
        self.failing = failing
        self.error = error or OSError("disk full")
        self.calls = 0
        self.log: list[str] = []
        self.events: list[Event] = []

    def open(self, manifest: Mapping[str, Any]) -> None:
        self.log.append(f"open {manifest['name']}")

    def emit(self, events: Sequence[Event]) -> None:
        self.calls += 1
        if self.calls - 1 in self.failing:
            raise self.error
        self.log.append(f"emit {len(events)}")
        self.events.extend(events)

    def flush(self) -> None:
        self.log.append("flush")

    def close(self) -> None:
        self.log.append("close")


class Always(frozenset[int]):
    def __contains__(self, _: object) -> bool:
        return True


ALWAYS = Always()
EPOCH = Event(kind=EventKind.EPOCH_COMPLETED, epoch=0)
ACTION = Event(kind=EventKind.ACTION_DECIDED, epoch=0)
NOTICE = Event(kind=EventKind.NOTICE)


def opened(level: Level = Level.NORMAL, strict: bool = False, **sinks: Any) -> Hub:
    ticks = count(100.0)
    hub = Hub(sinks, rules=TelemetryRules(level=level, escalation_epochs=0), clock=lambda: next(ticks), strict=strict)
    hub.open({"name": "run"})
    return hub


def settle(sink: Recording, calls: int) -> None:
    """Wait until a sink, which has a thread of its own, has been called this often."""
    deadline = monotonic() + 30.0
    while len(sink.log) < calls and monotonic() < deadline:
        sleep(0.001)


def test_events_wait_for_the_end_of_the_epoch_and_are_flushed_then() -> None:
    sink = Recording()
    with opened(sink=sink) as hub:
        hub.emit(ACTION)
        assert sink.log == ["open run"]
        hub.emit(EPOCH)
        settle(sink, 3)
        assert sink.log == ["open run", "emit 2", "flush"]
    assert sink.log[-1] == "close"


def test_rare_events_are_delivered_at_once_and_many_events_do_not_pile_up() -> None:
    sink = Recording()
    with opened(sink=sink) as hub:
        hub.emit(NOTICE)
        settle(sink, 2)
        for _ in range(1000):
            hub.emit(ACTION)
        settle(sink, 2 + 1000 // BATCH)
        assert len(sink.events) > 1000 - BATCH


def test_events_are_stamped_once_for_all_sinks() -> None:
    first, second = Recording(), Recording()
    with opened(first=first, second=second) as hub:
        hub.emit(ACTION)
        hub.emit(EPOCH)
    assert [(event.sequence, event.time) for event in first.events] == [(0, 100.0), (1, 101.0)]
    assert first.events == second.events


@settings(deadline=None)
@given(st.lists(st.sampled_from(list(EventKind)), max_size=200), st.sampled_from(list(Level)))
def test_wanted_events_arrive_in_order_and_numbered_without_gap(kinds: list[EventKind], level: Level) -> None:
    sink = Recording()
    with opened(level, sink=sink) as hub:
        for index, kind in enumerate(kinds):
            hub.emit(Event(kind=kind, data={"index": index}))
    wanted = [index for index, kind in enumerate(kinds) if Event(kind=kind).level <= level]
    assert [event.data["index"] for event in sink.events] == wanted
    assert [event.sequence for event in sink.events] == list(range(len(wanted)))


@settings(deadline=None)
@given(st.frozensets(st.integers(0, 12)), st.integers(0, 12))
def test_a_failing_sink_takes_nothing_from_the_others(failing: frozenset[int], epochs: int) -> None:
    broken, sound = Recording(failing), Recording()
    with opened(broken=broken, sound=sound) as hub:
        for _ in range(epochs):
            hub.emit(ACTION)
            hub.emit(EPOCH)
    kinds = [event.kind for event in sound.events if event.kind is not EventKind.PLUGIN_FAILED]
    assert kinds == [EventKind.ACTION_DECIDED, EventKind.EPOCH_COMPLETED] * epochs
    counts = hub.counts()["broken"]
    assert counts.delivered == len(broken.events)
    assert counts.delivered + counts.dropped == len(sound.events)
    assert counts.errors <= MAX_ERRORS
    failures = [event for event in sound.events if event.kind is EventKind.PLUGIN_FAILED]
    assert len(failures) == (1 if counts.errors else 0)


def test_a_sink_is_disabled_after_three_errors_and_the_others_are_told_once() -> None:
    broken, sound = Recording(ALWAYS), Recording()
    with opened(broken=broken, sound=sound) as hub:
        for _ in range(5):
            hub.emit(EPOCH)
            hub.flush()
        told = [event for event in sound.events if event.kind is EventKind.PLUGIN_FAILED]
        assert [event.data["plugin"] for event in told] == ["broken"]
        assert "disk full" in told[0].data["error"]
    assert broken.calls == MAX_ERRORS
    assert broken.log[-1] == "close"
    counts = hub.counts()["broken"]
    assert (counts.delivered, counts.dropped, counts.errors, counts.disabled) == (0, 6, 3, True)


@pytest.mark.parametrize("error", [SystemExit(3), RuntimeError(), ValueError("x"), KeyboardInterrupt()])
def test_whatever_a_sink_raises_stays_out_of_training(error: BaseException) -> None:
    with opened(broken=Recording(ALWAYS, error)) as hub:
        hub.emit(EPOCH)
        hub.flush()
        assert hub.counts()["broken"].errors == 1


def test_what_a_signal_handler_emits_during_delivery_waits_for_its_turn() -> None:
    sink = Recording()
    ticks, interrupted = count(100.0), []

    def clock() -> float:
        if not interrupted:
            interrupted.append(1)
            signal.raise_signal(signal.SIGINT)
        return next(ticks)

    hub = Hub({"sink": sink}, clock=clock)
    hub.open({"name": "run"})
    before = signal.signal(signal.SIGINT, lambda *_: hub.emit(NOTICE))
    try:
        hub.emit(ACTION)
        hub.emit(EPOCH)
    finally:
        signal.signal(signal.SIGINT, before)
    hub.close()
    assert [event.kind for event in sink.events] == [ACTION.kind, NOTICE.kind, EPOCH.kind]
    assert [event.sequence for event in sink.events] == [0, 1, 2]


def test_strict_raises_what_a_sink_raises() -> None:
    hub = opened(strict=True, broken=Recording(ALWAYS))
    with pytest.raises(EsperError, match="broken") as caught:
        hub.emit(EPOCH)
    assert caught.value.code == "E504"
    assert "disk full" in (caught.value.why or "")


def test_what_cannot_be_opened_is_told_before_training_and_the_rest_is_closed() -> None:
    class Unopenable(Recording):
        def open(self, manifest: Mapping[str, Any]) -> None:
            raise PermissionError("read-only")

    first, last = Recording(), Recording()
    hub = Hub({"first": first, "bad": Unopenable(), "last": last})
    with pytest.raises(EsperError) as caught:
        hub.open({"name": "run"})
    assert caught.value.code == "E504"
    assert '"bad"' in caught.value.what
    assert first.log == ["open run", "close"]
    assert last.log == []


def test_a_sinks_own_error_keeps_its_code() -> None:
    class Unopenable(Recording):
        def open(self, manifest: Mapping[str, Any]) -> None:
            raise EsperError("E501", "nowhere to write")

    with pytest.raises(EsperError) as caught:
        Hub({"bad": Unopenable()}).open({"name": "run"})
    assert caught.value.code == "E501"


def test_closing_twice_closes_once_and_nothing_is_taken_after() -> None:
    sink = Recording()
    hub = opened(sink=sink)
    hub.close()
    hub.close()
    assert sink.log.count("close") == 1
    with pytest.raises(RuntimeError, match="not open"):
        hub.emit(NOTICE)
