"""The supervisor on its bus: what keeps it from hearing does not last, and is said."""

import queue
import threading

import pytest

from esper_bus_sqlite.bus import SqliteConfig, sqlite_bus
from esper_core.leyline.errors import EsperError
from esper_weatherlight import bus_link
from esper_weatherlight.bus_link import BusLink
from esper_weatherlight.emergencies import Emergencies

STATUS = {"services": [], "health": "healthy"}


@pytest.fixture
def link(tmp_path, monkeypatch):
    """Begins links to a bus in a file, each with what it says."""
    monkeypatch.setattr(bus_link, "ASK_AGAIN", 0.01)
    monkeypatch.setattr(bus_link, "TELEMETRY_EVERY", 0.01)
    begun = []

    def begin(open_bus=lambda: sqlite_bus(SqliteConfig(url=f"sqlite:{tmp_path}/bus.sqlite"))):
        said = queue.Queue()
        emergencies = Emergencies(30.0)
        begun.append(BusLink(open_bus, "sqlite:", tmp_path, emergencies, lambda: STATUS, said.put))
        return emergencies, said

    yield begin
    for it in begun:
        it.close()


def heard(emergencies, *, seconds=60.0):
    """Wait until a signal is heard."""
    for _ in range(int(seconds / 0.01)):
        if emergencies.shown()[0]:
            return True
        threading.Event().wait(0.01)
    return False


def publish_emergency(state):
    """Publish a signal as another process does."""
    other = BusLink(
        lambda: sqlite_bus(SqliteConfig(url=f"sqlite:{state}/bus.sqlite")),
        "sqlite:",
        state,
        Emergencies(30.0),
        lambda: STATUS,
    )
    other.emergency(bus_link.EmergencyLevel.HALT, "digits", "because")
    other.close()


def test_a_file_of_replays_that_cannot_be_used_is_named_once_and_tried_again(link, tmp_path):
    (tmp_path / "replays.sqlite").mkdir()
    emergencies, said = link()
    assert "what was accepted already cannot be remembered" in said.get(timeout=60)
    publish_emergency(tmp_path)
    (tmp_path / "replays.sqlite").rmdir()
    assert heard(emergencies)
    assert said.empty()


def test_a_bus_that_goes_away_and_comes_back_is_said(link, tmp_path):
    away = threading.Event()
    away.set()

    def open_bus():
        if away.is_set():
            raise EsperError("E611", "the bus's server does not answer")
        return sqlite_bus(SqliteConfig(url=f"sqlite:{tmp_path}/bus.sqlite"))

    emergencies, said = link(open_bus)
    assert "the bus's server does not answer" in said.get(timeout=60)
    away.clear()
    assert said.get(timeout=60) == "the bus answers again"
    publish_emergency(tmp_path)
    assert heard(emergencies)
