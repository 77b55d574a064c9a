"""Alerts as events of the run: through the hub, in order, and not again when the run is resumed."""

import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from esper_core.api import EsperError, Event, EventKind, TellsRun
from esper_nissa.hub import Hub
from esper_sink_alerts import sink as module
from esper_sink_alerts.config import AlertsConfig
from esper_sink_alerts.sink import AlertsSink
from esper_sink_jsonl.config import JsonlConfig
from esper_sink_jsonl.sink import JsonlSink

MINUTE = 60.0


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1.7e9

    def __call__(self) -> float:
        return self.now


class Watched:
    """A run with the sinks alerts and jsonl, whose clock is moved by hand."""

    def __init__(self, directory: Path, clock: Clock, resumed_at: int | None = None, **options: Any) -> None:
        self.clock, self.directory = clock, directory
        self.sink = AlertsSink(AlertsConfig(**options), clock)
        sinks = {"alerts": self.sink, "jsonl": JsonlSink(JsonlConfig())}
        self.hub = Hub(sinks, clock=clock, first=resumed_at or 0)
        manifest: dict[str, Any] = {"name": "mine", "directory": str(directory), "config": {"epochs": 99}}
        if resumed_at is not None:
            manifest["resumed_at"] = resumed_at
        self.hub.open(manifest)

    def governor(self, mode: str) -> None:
        self.hub.emit(Event(kind=EventKind.GOVERNOR_INTERVENED, host="grown", data={"mode": mode, "reason": "drill"}))
        self.hub.flush()

    def epoch(self, number: int, loss: float = 1.0, after: float = MINUTE) -> None:
        """A minute later, an epoch is over."""
        self.clock.now += after
        data = {"train": {"loss": loss, "seconds": 1.0}, "validation": {"loss": loss}, "seeds": []}
        self.hub.emit(Event(kind=EventKind.EPOCH_COMPLETED, host="grown", epoch=number, data=data))
        self.hub.flush()

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.directory / "events.jsonl").read_text().splitlines()]

    def alerts(self) -> list[tuple[str, str, int | None]]:
        return [(it["data"]["name"], it["data"]["state"], it["epoch"]) for it in self.events() if it["kind"] == "alert"]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """A run."""
    watched = Watched(tmp_path, Clock())
    yield watched
    watched.hub.close()


def test_an_alert_is_an_event_when_it_fires_and_when_it_is_resolved(watched: Watched) -> None:
    watched.epoch(0)
    watched.governor("stopped")
    watched.epoch(1)
    watched.governor("normal")
    watched.epoch(2)
    assert watched.alerts() == [("EsperGovernorStopped", "firing", 0), ("EsperGovernorStopped", "resolved", 1)]
    first = next(it for it in watched.events() if it["kind"] == "alert")
    assert first["host"] == "grown"
    assert first["data"]["labels"] == {"run": "mine", "host": "grown"}
    assert first["data"]["severity"] == "page"
    assert first["data"]["value"] == 2.0
    assert first["data"]["when"] == "the governor's mode is stopped"
    assert first["data"]["summary"] == "mine/grown: the governor has stopped the training"
    assert "esper events search" in first["data"]["advice"]


def test_events_are_numbered_without_a_gap_and_in_order(watched: Watched) -> None:
    for number in range(6):
        watched.governor("stopped" if number % 2 else "normal")
        watched.epoch(number)
    assert len(watched.alerts()) == 5
    assert [it["sequence"] for it in watched.events()] == list(range(len(watched.events())))
    times = [it["time"] for it in watched.events()]
    assert times == sorted(times)


def test_what_waits_for_a_duration_does_not_fire_before(watched: Watched) -> None:
    watched.epoch(0)
    watched.governor("conservative")
    watched.epoch(1, after=30.0)
    assert watched.alerts() == []
    watched.epoch(2, after=60.0)
    assert watched.alerts() == [("EsperGovernorConservative", "firing", 1)]


def test_a_run_that_is_over_is_evaluated_once_more(watched: Watched) -> None:
    watched.epoch(0, loss=float("nan"), after=1.0)
    assert watched.alerts() == []
    watched.hub.emit(Event(kind=EventKind.RUN_FINISHED, data={"outcome": "stopped"}))
    watched.hub.close()
    assert {name for name, _, _ in watched.alerts()} == {"EsperLossNotFinite", "EsperRunFailed"}


def test_a_resumed_run_does_not_fire_again_but_says_what_is_over(tmp_path: Path) -> None:
    clock = Clock()
    first = Watched(tmp_path, clock)
    first.epoch(0)
    first.governor("stopped")
    first.epoch(1)
    resumed_at = len(first.events())
    first.governor("normal")
    first.epoch(2)
    assert [state for _, state, _ in first.alerts()] == ["firing", "resolved"]
    first.hub.close()

    clock.now += 3600.0
    again = Watched(tmp_path, clock, resumed_at)
    again.governor("stopped")
    again.epoch(2)
    assert [state for _, state, _ in again.alerts()] == ["firing"]
    again.governor("normal")
    again.epoch(3)
    assert again.alerts() == [("EsperGovernorStopped", "firing", 0), ("EsperGovernorStopped", "resolved", 2)]
    again.hub.close()


def test_without_its_log_a_resumed_run_begins_anew(tmp_path: Path) -> None:
    again = Watched(tmp_path, Clock(), 7)
    again.governor("stopped")
    again.epoch(1)
    assert [state for _, state, _ in again.alerts()] == ["firing"]
    again.hub.close()


def test_a_damaged_log_is_no_reason_not_to_watch(tmp_path: Path) -> None:
    lines = ['{"kind": "alert"', '{"kind": "alert", "data": {"labels": 3}}', '{"kind": "alert", "data": []}', "\x00"]
    (tmp_path / "events.jsonl").write_text("\n".join(lines))
    sink = AlertsSink(AlertsConfig(), Clock())
    sink.open({"name": "mine", "directory": str(tmp_path), "resumed_at": 2})
    sink.close()


def test_a_training_that_hangs_is_an_alert_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE", 0.0)
    told: list[Event] = []
    fired = threading.Event()

    def tell(event: Event) -> None:
        told.append(event)
        fired.set()

    clock = Clock()
    sink = AlertsSink(AlertsConfig(interval=0.1), clock)
    sink.connect(tell)
    sink.open({"name": "mine", "directory": None, "config": {}})
    clock.now += 1805.0
    assert fired.wait(60)
    sink.close()
    assert [(it.data["name"], it.data["state"]) for it in told] == [("EsperRunStalled", "firing")]


def test_it_is_a_sink_that_adds_events() -> None:
    assert isinstance(AlertsSink(AlertsConfig()), TellsRun)


class Receiver:
    """Takes what is posted, or not."""

    def __init__(self, status: int) -> None:
        self.bodies: list[dict[str, Any]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/secret-path"


@pytest.fixture
def receivers() -> Iterator[Any]:
    """Return what makes receivers."""
    made: list[Receiver] = []

    def make(status: int) -> Receiver:
        made.append(Receiver(status))
        return made[-1]

    yield make
    for it in made:
        it.server.shutdown()
        it.server.server_close()


def test_alerts_are_posted(tmp_path: Path, receivers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = receivers(200)
    monkeypatch.setenv("ESPER_ALERTS_WEBHOOK", receiver.url)
    watched = Watched(tmp_path, Clock())
    watched.epoch(0)
    watched.governor("stopped")
    watched.epoch(1)
    watched.hub.close()
    ((body,), alert) = receiver.bodies, receiver.bodies[0]["alerts"][0]
    assert body["status"] == "firing"
    assert alert["labels"]["alertname"] == "EsperGovernorStopped"
    assert watched.hub.counts()["alerts"].errors == 0


def test_a_webhook_that_fails_is_told_and_counted_without_its_path(tmp_path: Path, receivers: Any) -> None:
    watched = Watched(tmp_path, Clock(), webhook=receivers(400).url)
    watched.epoch(0)
    watched.governor("stopped")
    watched.epoch(1)
    watched.hub.emit(Event(kind=EventKind.RUN_FINISHED, data={"outcome": "stopped"}))
    watched.hub.close()
    counts = watched.hub.counts()["alerts"]
    assert counts.errors == 1
    assert counts.last_error is not None
    assert "the webhook has not taken 2 of 2 notifications" in counts.last_error
    assert counts.dropped == 0
    assert "secret-path" not in counts.last_error


def test_a_webhook_that_fails_is_a_notice_in_the_run(receivers: Any) -> None:
    told: list[Event] = []
    noticed = threading.Event()

    def tell(event: Event) -> None:
        told.append(event)
        if event.kind is EventKind.NOTICE:
            noticed.set()

    sink = AlertsSink(AlertsConfig(webhook=receivers(404).url), Clock())
    sink.connect(tell)
    sink.open({"name": "mine", "directory": None})
    finished = [Event(kind=EventKind.RUN_FINISHED, data={"outcome": "stopped"}, time=1.7e9)]
    sink.emit(finished)
    assert noticed.wait(30)
    with pytest.raises(OSError, match="1 of 1"):
        sink.close()
    (notice,) = (it.data["message"] for it in told if it.kind is EventKind.NOTICE)
    assert "EsperRunFailed (firing): it answers 404" in notice
    assert "secret-path" not in notice


def test_an_address_that_cannot_be_used_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(EsperError, match="cannot be used") as caught:
        Watched(tmp_path, Clock(), webhook="https://me:secret@hooks.example/")
    assert caught.value.code == "E504"


@pytest.mark.parametrize("level", ["off", "minimal"])
def test_a_run_without_events_of_epochs_is_refused(level: str) -> None:
    """It would look like one that hangs."""
    with pytest.raises(EsperError, match="needs the events of epochs") as caught:
        AlertsSink(AlertsConfig()).open({"name": "mine", "directory": None, "config": {"telemetry": level}})
    assert caught.value.code == "E504"


class Echo:
    """A sink that answers each alert with another."""

    def __init__(self) -> None:
        self.tell: Any = None
        self.taken = 0

    def connect(self, tell: Any) -> None:
        self.tell = tell

    def open(self, manifest: Any) -> None:
        return

    def emit(self, events: Sequence[Event]) -> None:
        for event in events:
            self.taken += 1
            if event.kind is EventKind.ALERT:
                self.tell(Event(kind=EventKind.ALERT, data=event.data))

    def flush(self) -> None:
        return

    def close(self) -> None:
        return


@pytest.mark.timeout(60)
def test_a_sink_that_answers_its_own_events_does_not_hold_up_the_end() -> None:
    echo = Echo()
    hub = Hub({"echo": echo})
    hub.open({"name": "mine"})
    echo.tell(Event(kind=EventKind.ALERT))
    hub.emit(Event(kind=EventKind.NOTICE, data={"message": ""}))
    hub.close()
    assert 2 < echo.taken < 40


def test_a_sink_adds_alerts_and_notices_alone() -> None:
    echo = Echo()
    hub = Hub({"echo": echo})
    hub.open({"name": "mine"})
    with pytest.raises(ValueError, match="run_finished"):
        echo.tell(Event(kind=EventKind.RUN_FINISHED))
    for _ in range(1000):
        echo.tell(Event(kind=EventKind.NOTICE, data={"message": ""}))
    with pytest.raises(RuntimeError, match="waiting to be numbered"):
        echo.tell(Event(kind=EventKind.NOTICE, data={"message": ""}))
    hub.close()
    assert echo.taken == 1000
