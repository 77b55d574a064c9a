"""A run that is killed between a checkpoint and its bus: what it had said before the checkpoint is not lost."""

import json

import pytest

from esper_bus_sqlite.bus import SqliteConfig, sqlite_bus
from esper_core.api import EsperError
from esper_core.leyline.actions import Action, Op
from esper_core.leyline.events import Event, EventKind
from esper_core.leyline.records import plain
from esper_leyline_proto.telemetry import TelemetryBatch
from esper_messaging import repetition
from esper_messaging.background import BackgroundPublisher
from esper_messaging.outbox import Outbox
from esper_messaging.reading import Reader
from esper_messaging.run_messages import RunMessages
from esper_oona.api import Replays, Signer, keyring

ADDRESS = "sqlite:"


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("ESPER_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


def event(number, kind=EventKind.NOTICE, data=None):
    return Event(kind=kind, run="x-1", sequence=number, time=1.8e9 + number, data=data or {"message": f"{number}"})


def log(directory, events):
    directory.mkdir()
    (directory / "events.jsonl").write_text("".join(json.dumps(plain(it)) + "\n" for it in events))


def messages(open_bus):
    return RunMessages(open_bus, name="sqlite", address=ADDRESS, device=lambda host: "cpu")


def manifest(directory, **more):
    return {"name": "x-1", "bus": {"run_id": "r"}, "directory": str(directory), **more}


def said(state):
    """The events on the bus, in the order in which a reader is given them."""
    found = []

    def take(batch, envelope):
        events = [event for packet in batch.packets for event in packet.events]  # a packet for each source
        found.extend(sorted(events, key=lambda it: it.sequence))

    bus = sqlite_bus(SqliteConfig())
    reader = Reader(bus, "t", "c", {TelemetryBatch: take}, signer=Signer(keyring(state)), replays=Replays(None))
    while reader.poll():
        pass
    bus.close()
    return [(it.sequence, str(it.kind), it.data["message"]) for it in found]


def test_a_run_that_goes_on_says_its_last_events_once_more(state, tmp_path):
    log(tmp_path / "x-1", [*map(event, range(3)), event(3, "forge.kept"), *map(event, (4, 5))])
    run = messages(lambda: sqlite_bus(SqliteConfig()))
    run.sink.open(manifest(tmp_path / "x-1", resumed_at=4))
    run.sink.emit([event(4)])
    run.close()
    assert said(state) == [
        *((number, "notice", f"{number}") for number in range(3)),
        (3, "forge.kept", "3"),
        (4, "notice", "4"),
    ]


def test_no_more_than_can_have_waited(state, tmp_path, monkeypatch):
    monkeypatch.setattr(repetition, "EVENTS", 2)
    log(tmp_path / "x-1", map(event, range(10)))
    assert [it.sequence for it in repetition.to_repeat(manifest(tmp_path / "x-1", resumed_at=7))] == [5, 6]


@pytest.mark.parametrize(
    "more", [{}, {"resumed_at": 3, "directory": None}, {"resumed_at": 3, "directory": "elsewhere"}]
)
def test_a_run_that_begins_or_has_no_log_repeats_nothing(tmp_path, more):
    log(tmp_path / "x-1", map(event, range(10)))
    assert not [*repetition.to_repeat(manifest(tmp_path / "x-1") | more)]


def test_a_checkpoint_waits_until_commands_are_written_down_and_not_for_the_bus(state, tmp_path, monkeypatch):
    monkeypatch.setattr(BackgroundPublisher, "_work", lambda self: None)  # a thread that never gets to run

    def away():
        raise EsperError("E611", "the bus does not answer")

    run = messages(away)
    run.sink.open(manifest(tmp_path / "x-1"))
    run.hear(event(0, EventKind.ACTION_DECIDED, plain(Action(id="grown/0", op=Op.WAIT))))
    run.hear(event(1, EventKind.EPOCH_COMPLETED))
    outbox = Outbox(state, ADDRESS, "test")
    assert outbox.depth() == 0
    run.sink.flush()
    assert outbox.depth() == 1
    (kept,) = outbox.take(10)
    assert kept.draft.type.name == "ADAPTATION_COMMAND"
    run.close()
