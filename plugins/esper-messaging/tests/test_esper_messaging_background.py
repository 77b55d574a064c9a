"""The background publisher: it never waits, keeps what is to be kept, and counts the rest."""

import threading
from collections import Counter
from datetime import UTC, datetime

import pytest

from esper_bus_memory.bus import MemoryConfig, memory_bus
from esper_core.api import EsperError, plain
from esper_leyline_proto.commands import EmergencyLevel, EmergencySignal
from esper_messaging.background import BackgroundPublisher
from esper_messaging.delivery import WHEN_AWAY, BusChange, BusState, WhenAway
from esper_messaging.drafts import RunIdentity, emergency_draft
from esper_messaging.outbox import Outbox
from esper_messaging.reading import Reader
from esper_messaging.sending import send_kept
from esper_oona.api import (
    LARGEST_BYTES,
    Draft,
    Keyring,
    MessageType,
    Pressure,
    Replays,
    Signer,
    Stream,
    WhenFull,
)
from esper_runs.bus_text import bus_lines

SIGNER = Signer(Keyring({"k": b"x" * 32}))
RUN = RunIdentity(name="digits-1", id="r")
ADDRESS = "memory:"


class Flaky:
    """A bus that is away when it is told so, or takes messages and dies before it can say so."""

    def __init__(self):
        self.bus = memory_bus(MemoryConfig())
        self.away = self.forgets = False
        self.asked = threading.Semaphore(0)
        self.breaker = "closed"

    def publish(self, stream, messages):
        self.asked.release()
        if self.away:
            self.breaker = "open"
            raise EsperError("E611", "the bus does not answer")
        positions = self.bus.publish(stream, messages)
        if self.forgets:
            self.forgets = False
            raise EsperError("E611", "the connection was lost")
        self.breaker = "closed"
        return positions

    def close(self):
        """Stay: the test reads it."""

    def __getattr__(self, name):
        return getattr(self.bus, name)


class House:
    """A bus, an outbox, and publishers in front of them."""

    def __init__(self, state):
        self.state, self.bus, self.changes = state, Flaky(), []
        self.back, self.left = threading.Event(), threading.Event()

    def publisher(self, *, sender="one", bus=None, open_bus=None, capacity=1_000):
        def changed(change, why):
            self.changes.append(change)
            {BusChange.AWAY: self.left, BusChange.BACK: self.back}.get(change, threading.Event()).set()

        return BackgroundPublisher(
            open_bus or (lambda: self.bus),
            SIGNER,
            Outbox(self.state, ADDRESS, sender),
            name="test",
            bus=bus if bus is not None or open_bus else self.bus,
            changed=changed,
            capacity=capacity,
        )

    def handled(self):
        found = []
        reader = Reader(
            self.bus,
            "test",
            "c",
            {EmergencySignal: lambda signal, _: found.append(signal.id)},
            signer=SIGNER,
            replays=Replays(None),
        )
        while reader.poll():
            pass
        return found

    def on_bus(self, stream=Stream.TELEMETRY):
        return len(self.bus.tail(stream, 10_000))


@pytest.fixture
def house(tmp_path, monkeypatch):
    monkeypatch.setattr("esper_messaging.background.FIRST_PAUSE", 0.01)
    monkeypatch.setattr("esper_messaging.background.LONGEST_PAUSE", 0.02)
    return House(tmp_path)


def telemetry(text="x"):
    return MessageType.TELEMETRY, lambda: [Draft(type=MessageType.TELEMETRY, payload=text.encode())]


def emergency(number):
    def made():
        at = datetime(2026, 1, 1, tzinfo=UTC)
        return [emergency_draft(EmergencyLevel.HALT, "no", "me", RUN, id=f"e{number}", at=at, attributes={})]

    return MessageType.EMERGENCY_SIGNAL, made


def test_what_a_run_does_not_say_again_is_kept():
    kept = {type for type, what in WHEN_AWAY.items() if what is WhenAway.KEEP}
    assert kept >= {MessageType.FIELD_REPORT, MessageType.ADAPTATION_COMMAND, MessageType.EMERGENCY_SIGNAL}
    assert not kept & {MessageType.SYSTEM_STATE, MessageType.TELEMETRY}
    assert {*WHEN_AWAY} == {*MessageType}


def test_everything_is_sent_to_a_bus_that_answers(house):
    publisher = house.publisher()
    for number in range(250):
        publisher.put(*telemetry())
        publisher.put(*emergency(number))
    counts = publisher.close(30.0)
    assert counts.sent == {"emergency-signal": 250, "telemetry": 250}
    assert (counts.state, counts.dropped, counts.kept, counts.outages) == (BusState.CONNECTED, {}, 0, 0)
    # Those that the token bucket kept out of the emergency stream came by the normal one.
    assert sorted(house.handled()) == sorted(f"r-e{number}" for number in range(250))


def test_putting_does_not_wait_for_a_bus_that_hangs(house):
    answer = threading.Event()
    publish = house.bus.publish
    house.bus.publish = lambda *arguments: (house.bus.asked.release(), answer.wait(60.0), publish(*arguments))[2]
    publisher = house.publisher()
    publisher.put(*telemetry())
    assert house.bus.asked.acquire(timeout=60.0)
    for _ in range(100):  # the bus has not answered yet
        publisher.put(*telemetry())
    assert house.on_bus() == 0
    answer.set()
    assert publisher.close(60.0).sent == {"telemetry": 101}


def test_what_waits_is_sent_when_the_bus_is_back(house):
    house.bus.away = True
    publisher = house.publisher()
    publisher.put(*telemetry())
    publisher.put(*emergency(1))
    assert house.left.wait(60.0)
    assert publisher.counts().state is BusState.DEGRADED
    house.bus.away = False
    assert house.back.wait(60.0)
    counts = publisher.close(60.0)
    assert counts.sent == {"emergency-signal": 1, "telemetry": 1}
    assert (counts.state, counts.outages, counts.dropped) == (BusState.CONNECTED, 1, {})
    assert house.changes == [BusChange.AWAY, BusChange.BREAKER_OPENED, BusChange.BACK]


def test_there_is_room_for_so_many_and_the_oldest_are_dropped_and_counted(house):
    house.bus.away = True
    publisher = house.publisher(capacity=10)
    publisher.put(*telemetry())
    assert house.left.wait(60.0)
    for number in range(200):
        publisher.put(*telemetry(f"{number}"))
    counts = publisher.close(60.0)
    assert counts.dropped == {"telemetry": 201}
    assert counts.sent == {}
    assert "dropped" in publisher.counts().last_error


def test_what_is_kept_outlives_its_publisher_and_is_handled_once(house):
    house.bus.away = True
    publisher = house.publisher()
    for number in range(5):
        publisher.put(*emergency(number))
    publisher.put(*telemetry())
    counts = publisher.close(60.0)
    assert (counts.kept, counts.sent, counts.dropped) == (5, {}, {"telemetry": 1})
    house.bus.away = False
    later = house.publisher(sender="two")
    assert later.close(60.0).sent == {"emergency-signal": 5}
    assert house.handled() == [f"r-e{number}" for number in range(5)]


def test_what_is_kept_can_be_sent_by_hand(house):
    house.bus.away = True
    publisher = house.publisher()
    publisher.put(*emergency(1))
    publisher.close(60.0)
    with pytest.raises(EsperError, match="E611"):
        send_kept(house.bus, ADDRESS, house.state, SIGNER)
    house.bus.away = False
    assert send_kept(house.bus, "another:", house.state, SIGNER) == (0, 0, 1)
    assert send_kept(house.bus, ADDRESS, house.state, SIGNER) == (1, 0, 0)
    assert house.handled() == ["r-e1"]


def test_a_message_counts_as_sent_when_the_bus_has_said_so_and_is_handled_once(house):
    house.bus.forgets = True
    publisher = house.publisher()
    publisher.put(*emergency(1))
    assert house.left.wait(60.0)
    assert house.back.wait(60.0)
    assert publisher.close(60.0).sent == {"emergency-signal": 1}
    assert house.on_bus(Stream.EMERGENCY) == 2
    assert house.handled() == ["r-e1"]


def test_a_bus_that_was_never_reached_is_opened_later(house):
    tries = []

    def open_bus():
        tries.append(None)
        if len(tries) < 3:
            raise EsperError("E611", "the bus's server does not answer")
        return house.bus

    publisher = house.publisher(open_bus=open_bus)
    publisher.put(*emergency(1))
    assert house.back.wait(60.0)
    assert publisher.close(60.0).sent == {"emergency-signal": 1}
    assert len(tries) == 3


def test_what_cannot_be_made_or_is_too_large_is_counted_and_the_rest_is_sent(house):
    publisher = house.publisher()
    publisher.put(MessageType.TELEMETRY, lambda: 1 / 0)
    publisher.put(MessageType.FIELD_REPORT, list)
    publisher.put(*telemetry("x" * (LARGEST_BYTES + 1)))
    publisher.put(*telemetry())
    counts = publisher.close(60.0)
    assert counts.dropped == {"telemetry": 2}
    assert counts.sent == {"telemetry": 1}


def test_a_full_stream_drops_what_is_counted_and_leaves_the_rest_in_the_outbox(house, monkeypatch):
    full = Pressure(limit=1, when_full=WhenFull.DROP, sample_seconds=0.0)
    monkeypatch.setattr("esper_messaging.background.PRESSURE", dict.fromkeys(Stream, full))

    def report(number):
        return MessageType.FIELD_REPORT, lambda: [Draft(type=MessageType.FIELD_REPORT, payload=b"", id=f"{number}")]

    def state(number):
        return MessageType.SYSTEM_STATE, lambda: [Draft(type=MessageType.SYSTEM_STATE, payload=b"", id=f"s{number}")]

    publisher = house.publisher()
    publisher.put(*report(1))
    assert publisher.close(60.0).sent == {"field-report": 1}
    publisher = house.publisher(sender="two")
    publisher.put(*report(2))
    publisher.put(*state(1))
    counts = publisher.close(60.0)
    assert counts.kept == 1
    assert counts.dropped == {"system-state": 1}
    assert counts.state is BusState.CONNECTED


def test_an_outbox_that_cannot_be_read_is_told_and_ends_nothing(house, monkeypatch):
    def fails(_):
        raise EsperError("E611", "the file of a bus cannot be used", why="disk I/O error")

    monkeypatch.setattr(Outbox, "depth", fails)
    publisher = house.publisher()
    publisher.put(*telemetry())
    counts = publisher.close(60.0)
    assert (counts.kept, counts.sent) == (None, {"telemetry": 1})
    assert "cannot be read" in bus_lines({"bus": {"name": "memory", **plain(counts)}})[-1]


def test_nothing_is_taken_after_closing(house):
    publisher = house.publisher()
    publisher.close(60.0)
    publisher.put(*telemetry())
    assert publisher.lost == 1


def test_metrics_say_how_the_bus_is(house):
    house.bus.away = True
    publisher = house.publisher()
    publisher.put(*telemetry())
    assert house.left.wait(60.0)
    found = publisher.metrics
    assert (found["breaker"], found["degraded"], found["outages"]) == ("open", 1.0, 1)
    house.bus.away = False
    assert house.back.wait(60.0)
    found = publisher.metrics
    publisher.close(60.0)
    assert (found["breaker"], found["degraded"], found["published"], found["lost"]) == ("closed", 0.0, 1, 0)
    assert found["publish_seconds.p50"] > 0.0


def test_of_two_senders_each_message_is_sent_by_one(house):
    house.bus.away = True
    publisher = house.publisher()
    for number in range(300):
        publisher.put(*emergency(number))
    publisher.close(60.0)
    house.bus.away = False
    senders = [house.publisher(sender=f"s{number}") for number in range(2)]
    sent = Counter()
    for sender in senders:
        sent += Counter(sender.close(60.0).sent)
    assert sent == {"emergency-signal": 300}
    assert len(house.bus.tail(Stream.EMERGENCY, 999)) + len(house.bus.tail(Stream.NORMAL, 999)) == 300
