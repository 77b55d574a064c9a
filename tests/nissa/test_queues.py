"""Sinks that do not keep up: training goes on, and what happens to events is what was asked for."""

import threading
from typing import Any

import pytest

from esper_core.leyline.errors import EsperError
from esper_core.leyline.events import Event, EventKind, Level
from esper_nissa.hub import Hub
from esper_nissa.queue_limits import BATCH, LEAST_CAPACITY, QueueLimits, WhenFull
from esper_nissa.sink_worker import DROPPABLE
from esper_nissa.telemetry_rules import TelemetryRules

REWARD = Event(kind=EventKind.REWARD_COMPUTED, epoch=0)
CHANGE = Event(kind=EventKind.SEED_TRANSITION, epoch=0)
NOTICE = Event(kind=EventKind.NOTICE)
EPOCH = Event(kind=EventKind.EPOCH_COMPLETED, epoch=0)
CAPACITY = 2 * BATCH


class Held:
    """A sink that takes nothing in until it is let go."""

    def __init__(self, held: bool = True) -> None:
        self.gate = threading.Event()
        self.taken = threading.Event()
        if not held:
            self.gate.set()
        self.events: list[Event] = []
        self.threads: set[int] = set()
        self.log: list[str] = []

    def open(self, manifest: Any) -> None:
        self._at("open")

    def emit(self, events: Any) -> None:
        self.taken.set()
        assert self.gate.wait(30)
        self.events.extend(events)
        self._at("emit")

    def flush(self) -> None:
        self._at("flush")

    def progress(self, host: str, epoch: int, done: int, steps: int) -> None:
        self._at(f"progress {done}")

    def close(self) -> None:
        self._at("close")

    def _at(self, place: str) -> None:
        self.log.append(place)
        self.threads.add(threading.get_ident())


def opened(sink: Held, when_full: WhenFull = WhenFull.BLOCK, limits: QueueLimits | None = None, **others: Any) -> Hub:
    limits = limits or QueueLimits(capacity=CAPACITY, when_full=when_full, deadline=30.0)
    hub = Hub({"sink": sink, **others}, rules=TelemetryRules(level=Level.DEBUG), limits=limits)
    hub.open({"name": "run"})
    return hub


def fill(hub: Hub, sink: Held, event: Event = REWARD) -> None:
    """Let the sink hold one event in its hands, and fill its queue."""
    hub.emit(NOTICE)
    assert sink.taken.wait(30)
    for _ in range(CAPACITY - BATCH):
        hub.emit(event)


def burst(hub: Hub, count: int) -> None:
    for _ in range(count):
        hub.emit(REWARD)


def test_training_does_not_wait_for_a_slow_sink_nor_does_another_sink() -> None:
    slow, other = Held(), Held(held=False)
    hub = opened(slow, other=other)
    hub.emit(CHANGE)
    hub.emit(EPOCH)
    while "flush" not in other.log:
        pass
    assert slow.events == []
    slow.gate.set()
    hub.close()
    assert [event.kind for event in slow.events] == [event.kind for event in other.events] == [CHANGE.kind, EPOCH.kind]


def test_a_sink_is_called_in_one_thread_which_is_not_that_of_training() -> None:
    sink = Held(held=False)
    with opened(sink) as hub:
        hub.emit(EPOCH)
        hub.progress("grown", 0, 1, 2)
        while "progress 1" not in sink.log:
            pass
    assert {place for place in sink.log if "progress" not in place} == {"open", "emit", "flush", "close"}
    assert len(sink.threads) == 1
    assert threading.get_ident() not in sink.threads


def test_of_progress_only_the_newest_counts() -> None:
    sink = Held()
    with opened(sink) as hub:
        hub.emit(NOTICE)
        assert sink.taken.wait(30)
        for done in range(1, 50):
            hub.progress("grown", 0, done, 50)
        sink.gate.set()
        while not any("progress" in place for place in sink.log):
            pass
    assert [place for place in sink.log if "progress" in place] == ["progress 49"]


def test_a_sink_that_shows_checkpoints_is_told_of_each_behind_the_events_before() -> None:
    class Shows(Held):
        def checkpoint(self, epoch: int, began: float, ended: float) -> None:
            self._at(f"checkpoint {epoch} {began} {ended}")

    class Fails(Held):
        def checkpoint(self, epoch: int, began: float, ended: float) -> None:
            self._at(f"checkpoint {epoch}")
            raise RuntimeError("no")

    sink, failing, other = Shows(), Fails(held=False), Held(held=False)
    hub = opened(sink, failing=failing, other=other)
    for epoch in range(3):
        hub.emit(EPOCH)
        hub.checkpoint(epoch, 1.0, 2.0)
    sink.gate.set()
    hub.close()
    told = [place for place in sink.log if place.startswith(("emit", "checkpoint"))]
    assert [it for it in told if it != "emit"] == [f"checkpoint {epoch} 1.0 2.0" for epoch in range(3)]
    assert told[0] == "emit"
    # It is no event: who fails in it is not told of another one, and has lost nothing.
    assert [place for place in failing.log if "checkpoint" in place] == ["checkpoint 0"]
    assert (hub.counts()["failing"].errors, hub.counts()["failing"].delivered) == (0, 3)
    assert [place for place in other.log if place not in ("open", "emit", "flush")] == ["close"]


def test_after_a_flush_everything_has_been_taken_and_flushed() -> None:
    sink = Held(held=False)
    with opened(sink) as hub:
        for number in range(1, 50):
            hub.emit(CHANGE)
            hub.flush()
            assert len(sink.events) == number
            assert sink.log[-1] == "flush"


def test_block_waits_for_the_sink_and_loses_nothing() -> None:
    sink = Held()
    hub = opened(sink)
    fill(hub, sink)
    threading.Timer(0.05, sink.gate.set).start()
    for _ in range(4 * CAPACITY):
        hub.emit(REWARD)
    assert sink.gate.is_set()
    hub.close()
    assert hub.counts()["sink"].dropped == 0
    assert [event.sequence for event in sink.events] == list(range(1 + CAPACITY - BATCH + 4 * CAPACITY))


def test_a_short_queue_is_not_overrun_by_one_batch() -> None:
    class Batches(Held):
        sizes: list[int] = []

        def emit(self, events: Any) -> None:
            super().emit(events)
            self.sizes.append(len(events))

    sink = Batches(held=False)
    hub = Hub({"sink": sink}, limits=QueueLimits(capacity=LEAST_CAPACITY))
    hub.open({"name": "run"})
    burst(hub, 4 * BATCH)
    hub.close()
    assert len(sink.events) == 4 * BATCH
    assert max(sink.sizes) <= LEAST_CAPACITY < BATCH


def test_a_burst_of_twenty_thousand_does_not_wait_for_a_sink_that_takes_nothing() -> None:
    sink = Held()
    hub = Hub({"sink": sink})
    hub.open({"name": "run"})
    burst(hub, 20_000)
    assert sink.events == []
    sink.gate.set()
    hub.close()
    assert len(sink.events) == 20_000


def test_drop_oldest_drops_what_may_be_dropped_and_counts_it() -> None:
    sink = Held()
    hub = opened(sink, WhenFull.DROP_OLDEST)
    fill(hub, sink)
    for number in range(CAPACITY):
        hub.emit(CHANGE if number % 2 else REWARD)
    sink.gate.set()
    hub.close()
    counts = hub.counts()["sink"]
    lost = {*range(1 + 2 * CAPACITY - BATCH)} - {event.sequence for event in sink.events}
    assert counts.dropped == len(lost) > 0
    assert counts.delivered == len(sink.events)
    assert max(lost) < CAPACITY  # the oldest
    kinds = [event.kind for event in sink.events]
    assert kinds.count(EventKind.SEED_TRANSITION) == CAPACITY // 2
    assert kinds.count(EventKind.NOTICE) == 1


def test_nothing_that_says_what_became_of_the_network_is_ever_dropped() -> None:
    sink = Held()
    hub = opened(sink, WhenFull.DROP_OLDEST)
    fill(hub, sink, CHANGE)
    threading.Timer(0.05, sink.gate.set).start()
    for _ in range(2 * CAPACITY):
        hub.emit(CHANGE)
    hub.close()
    assert hub.counts()["sink"].dropped == 0
    assert len(sink.events) == 1 + 3 * CAPACITY - BATCH


def test_fail_ends_the_run_with_the_name_of_the_sink() -> None:
    sink = Held()
    hub = opened(sink, WhenFull.FAIL)
    fill(hub, sink)
    with pytest.raises(EsperError, match=r'E504.*"sink" does not keep up'):
        burst(hub, 2 * CAPACITY)
    sink.gate.set()
    hub.close()


def test_a_sink_that_hangs_with_a_full_queue_is_given_up_and_all_it_did_not_take_is_counted() -> None:
    sink, other = Held(), Held(held=False)
    limits = QueueLimits(capacity=CAPACITY, deadline=30.0)
    hub = opened(sink, limits=limits, other=other)
    fill(hub, sink)
    # A sound sink may take its time to open; from here on the test would have to wait for what hangs.
    object.__setattr__(limits, "deadline", 0.5)
    with pytest.warns(UserWarning, match=r'"sink" hangs in emit'):
        burst(hub, 3 * CAPACITY)
    hub.close()
    counts = hub.counts()
    assert counts["sink"].disabled
    assert counts["sink"].delivered == 0
    assert counts["sink"].dropped == counts["other"].delivered == len(other.events)
    assert "close" in sink.log  # it may hold a terminal
    sink.gate.set()


def test_what_may_be_dropped_says_nothing_about_the_network_or_the_run() -> None:
    assert {EventKind.REWARD_COMPUTED, EventKind.GATES_EVALUATED, EventKind.DIAGNOSED} == DROPPABLE
    assert all(Event(kind=kind).level is not Level.MINIMAL for kind in DROPPABLE)
