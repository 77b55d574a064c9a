"""What Nissa makes of messages: each run and each source by itself, every event once, also after restarts."""

import json
import urllib.request
from datetime import UTC, datetime
from math import nan
from threading import Event as Flag
from threading import Thread

import pytest
from prometheus_client import generate_latest

from esper_app.api import load_plugins
from esper_core.api import Event, EventKind
from esper_leyline_proto.commands import EmergencyLevel, EmergencySignal
from esper_leyline_proto.conversion import to_bytes
from esper_leyline_proto.envelope import Envelope, MessagePriority, MessageType
from esper_leyline_proto.telemetry import HealthStatus, MetricPoint, SystemHealth, TelemetryBatch, TelemetryPacket
from esper_messaging.drafts import RunIdentity, telemetry_drafts
from esper_oona.api import Draft, Publisher, Signer, keyring, open_bus
from esper_service_nissa import observatory
from esper_service_nissa.config import NissaConfig
from esper_service_nissa.ledger import Ledger
from esper_service_nissa.messages import MESSAGES
from esper_service_nissa.observatory import Observatory
from esper_service_nissa.running import run_nissa
from esper_service_nissa.service import ADDRESS
from esper_service_nissa.sink_feed import SinkFeed

#: Seconds since 1970 when handmade runs begin.
BEGAN = 1_700_000_000.0

A, B = RunIdentity(name="a-1", id="ida"), RunIdentity(name="b-1", id="idb")


def event(run, sequence, kind=EventKind.NOTICE, *, after=0.0, host="", **data):
    return Event(kind=kind, host=host, data=data, sequence=sequence, time=BEGAN + after, run=run.name)


def started(run):
    manifest = {"name": run.name, "started": f"when {run.id} began", "seed": 3, "config": {"epochs": 9}}
    return event(run, 0, EventKind.RUN_STARTED, **manifest)


def governor(run, sequence, mode, after):
    return event(run, sequence, EventKind.GOVERNOR_INTERVENED, host="grown", after=after, mode=mode, reason="because")


def envelope(key, type=MessageType.TELEMETRY, id="m"):
    return Envelope(id=id, type=type, issued_at=datetime.now(UTC), key=key, payload=b"")


def batch(*events):
    packet = TelemetryPacket(id="p", issued_at=datetime.now(UTC), source="nissa", run=events[0].run, events=events)
    return TelemetryBatch(packets=(packet,))


def health(source, status, id="h"):
    found = SystemHealth(status=status)
    point = MetricPoint(name="x.y", value=2.0, attributes={"state": "ready"})
    return TelemetryBatch(
        packets=(TelemetryPacket(id=id, issued_at=datetime.now(UTC), source=source, metrics=(point,), health=found),)
    )


def emergency(id="e"):
    return EmergencySignal(
        id=id, level=EmergencyLevel.HALT, reason="because", origin="tolaria", triggered_at=datetime.now(UTC), run="a-1"
    )


@pytest.fixture
def ledger(tmp_path):
    made = Ledger(tmp_path / "nissa.sqlite")
    yield made
    made.close()


class Observed:
    def __init__(self, ledger):
        self.it = Observatory(ledger, 10.0, clock=lambda: BEGAN)

    def hear(self, run, *events):
        self.it.hear(batch(*events), envelope(run.key()))

    def firing(self):
        return {(it["run"], it["name"]) for it in self.it.alerts()["alerts"] if it["state"] == "firing"}

    def lines(self):
        return generate_latest(self.it.registry).decode().splitlines()


@pytest.fixture
def observed(ledger):
    return Observed(ledger)


STOPPED = ("a-1", "EsperGovernorStopped")


class TestAlerts:
    def test_only_the_run_itself_clears_its_alert(self, observed):
        observed.hear(A, started(A), governor(A, 1, "stopped", 5.0), event(A, 2, after=30.0))
        assert observed.firing() == {STOPPED}
        observed.hear(B, started(B), governor(B, 1, "normal", 40.0), event(B, 2, after=200.0))
        observed.it.hear(health("tolaria", HealthStatus.HEALTHY), envelope(""))
        observed.hear(A, event(A, 3, after=200.0))
        assert observed.firing() == {STOPPED}
        observed.hear(A, governor(A, 4, "normal", 210.0), event(A, 5, after=230.0))
        assert observed.firing() == set()

    def test_what_fires_fires_after_a_restart(self, observed, ledger):
        observed.hear(A, started(A), governor(A, 1, "stopped", 5.0), event(A, 2, after=30.0))
        again = Observed(ledger)
        again.hear(A, event(A, 3, after=31.0))
        assert again.firing() == {STOPPED}

    def test_error_budgets_burn_by_run(self, observed):
        def epoch(run, number, loss):
            data = {"train": {"loss": loss, "seconds": 1.0}, "validation": {"loss": loss}}
            return event(run, number, EventKind.EPOCH_COMPLETED, host="grown", after=60.0 * number, **data)

        for run, loss in ((A, nan), (B, 0.5)):
            observed.hear(run, started(run), *(epoch(run, number, loss) for number in range(1, 12)))
        found = {
            it["run"]: it["burn"] for it in observed.it.alerts()["objectives"] if it["objective"] == "losses-finite"
        }
        assert found["a-1"]["5m"] > 14.4
        assert found["b-1"]["5m"] == 0.0
        assert ("a-1", "EsperSloLossesFiniteFast") in observed.firing()
        assert not {name for run, name in observed.firing() if run == "b-1" and "LossesFinite" in name}

    def test_only_the_source_itself_says_that_it_is_well_again(self, observed):
        for source, status in (("weatherlight", HealthStatus.CRITICAL), ("oona", HealthStatus.HEALTHY)):
            observed.it.hear(health(source, status), envelope(""))
        found = {it["source"]: it["health"] for it in observed.it.alerts()["sources"]}
        assert found == {"weatherlight": "critical", "oona": "healthy"}
        observed.it.hear(health("weatherlight", HealthStatus.HEALTHY), envelope(""))
        assert {it["health"] for it in observed.it.alerts()["sources"]} == {"healthy"}


class TestMetrics:
    def test_all_runs_are_under_one_address(self, observed):
        observed.hear(A, started(A), event(A, 1))
        observed.hear(B, started(B))
        observed.it.hear(health("oona", HealthStatus.DEGRADED), envelope(""))
        observed.it.hear(emergency(), envelope("ida/", MessageType.EMERGENCY_SIGNAL))
        lines = observed.lines()
        assert 'esper_events_total{kind="notice",run="a-1"} 1.0' in lines or any(
            line.startswith("esper_events_total") and 'run="a-1"' in line and "notice" in line for line in lines
        )
        assert any(line.startswith("esper_run_active") and 'run="b-1"' in line for line in lines)
        assert 'esper_source_health{run="",source="oona"} 2.0' in lines
        assert 'esper_nissa_emergencies_total{level="halt",origin="tolaria"} 1.0' in lines
        assert any(line.startswith("esper_packet_figure") and line.endswith(" 2.0") for line in lines)

    def test_what_is_said_again_counts_once_and_what_is_missing_is_counted(self, observed):
        observed.hear(A, started(A), event(A, 1), event(A, 2))
        observed.hear(A, event(A, 1), event(A, 2), event(A, 3))
        observed.hear(A, event(A, 8))
        notices = next(it for it in observed.lines() if it.startswith("esper_events_total") and "notice" in it)
        assert notices.endswith(" 4.0")
        assert 'esper_nissa_events_missing_total{run="a-1"} 4.0' in observed.lines()

    def test_runs_that_were_killed_are_not_watched_for_ever_and_their_series_go(self, observed, monkeypatch):
        monkeypatch.setattr(observatory, "_WATCHED", 2)
        monkeypatch.setattr(observatory, "_FINISHED", 1)
        runs = [RunIdentity(name=f"r-{it}", id=f"id{it}") for it in range(5)]
        for run in runs[:3]:
            observed.hear(run, started(run), governor(run, 2, "stopped", 5.0), event(run, 3, after=30.0))
            observed.hear(runs[0], event(runs[0], 4 + int(run.name[-1]), after=40.0))
        # The one that was silent for longest went, and with it that its alert fires and that an event was missing.
        assert observed.firing() == {("r-0", STOPPED[1]), ("r-2", STOPPED[1])}
        assert not [line for line in observed.lines() if 'run="r-1"' in line]
        assert [line for line in observed.lines() if line.startswith('esper_nissa_events_missing_total{run="r-2"}')]
        for run in runs[3:]:
            observed.hear(run, started(run), event(run, 1, EventKind.RUN_FINISHED, after=5.0))
        observed.hear(A, started(A))
        assert not [line for line in observed.lines() if 'run="r-3"' in line]
        assert [line for line in observed.lines() if 'run="r-4"' in line]


class Sink:
    """Keeps what it is shown, and raises when it is told to."""

    def __init__(self, told, fails):
        self.told, self.fails = told, fails

    def open(self, manifest):
        self.told.append(("open", manifest.get("name"), manifest.get("resumed_at")))

    def emit(self, events):
        if self.fails and self.fails.pop(0):
            raise OSError("away")
        self.told.append(("emit", *(it.sequence for it in events)))

    def flush(self):
        pass

    def close(self):
        self.told.append(("close",))


class TestASink:
    @pytest.fixture
    def fed(self, ledger, tmp_path):
        told, fails = [], []
        return SinkFeed("kept", lambda: Sink(told, fails), ledger, tmp_path), told, fails

    def test_has_each_run_as_if_it_were_its_own(self, fed):
        feed, told, _ = fed
        feed.hear(batch(started(A), event(A, 1)), envelope(A.key()))
        feed.hear(batch(event(A, 2), event(A, 3, EventKind.RUN_FINISHED)), envelope(A.key()))
        assert told == [("open", "a-1", None), ("emit", 0, 1), ("emit", 2, 3), ("close",)]

    def test_is_opened_for_a_run_that_goes_on_where_it_says_something_again(self, fed):
        feed, told, _ = fed
        feed.hear(batch(started(A), event(A, 1), event(A, 2)), envelope(A.key()))
        feed.hear(batch(event(A, 1), event(A, 2), event(A, 3)), envelope(A.key()))
        assert told[2:] == [("close",), ("open", "a-1", 1), ("emit", 1, 2, 3)]

    def test_that_fails_has_the_message_again(self, fed):
        feed, told, fails = fed
        feed.hear(batch(started(A)), envelope(A.key()))
        fails.append(True)
        with pytest.raises(OSError, match="away"):
            feed.hear(batch(event(A, 1)), envelope(A.key()))
        assert feed.failing
        feed.hear(batch(event(A, 1)), envelope(A.key()))
        assert not feed.failing
        assert told[-2:] == [("open", "a-1", 1), ("emit", 1)]

    def test_goes_on_after_a_restart(self, fed, ledger, tmp_path):
        feed, told, _ = fed
        feed.hear(batch(started(A), event(A, 1)), envelope(A.key()))
        again = SinkFeed("kept", lambda: Sink(told, []), ledger, tmp_path)
        again.hear(batch(event(A, 2)), envelope(A.key()))
        assert told[-2:] == [("open", "a-1", 2), ("emit", 2)]

    def test_has_what_is_no_event_of_a_run_too_with_the_same_number_each_time(self, fed):
        feed, told, _ = fed
        for _ in range(2):
            feed.hear(emergency(), envelope("ida/", MessageType.EMERGENCY_SIGNAL, id="one"))
        feed.hear(health("oona", HealthStatus.HEALTHY), envelope(""))
        (first, same, other) = [it[1] for it in told if it[0] == "emit"]
        assert first == same != other
        assert told[0] == ("open", MESSAGES, None)


@pytest.mark.slow
def test_all_of_it_on_a_bus(tmp_path, monkeypatch):
    monkeypatch.setenv("ESPER_STATE", str(tmp_path))
    plugins, stop, folder = load_plugins(), Flag(), tmp_path / "nissa"
    bus = open_bus("sqlite:", plugins.registry)
    log = [started(A), *(event(A, number, after=number, message=f"{number}") for number in range(1, 9))]
    drafts = [*telemetry_drafts(log[:6], A, 0), *telemetry_drafts(log[3:], A, 0)]
    signal = emergency()
    drafts.append(
        Draft(
            type=MessageType.EMERGENCY_SIGNAL,
            payload=to_bytes(signal),
            key=A.key(),
            priority=MessagePriority.CRITICAL,
            id=signal.id,
        )
    )
    config = NissaConfig(sinks={"jsonl": {}}, interval=0.1)
    thread = Thread(target=run_nissa, args=(bus, config, plugins, tmp_path, folder, stop))
    thread.start()
    try:
        Publisher(bus, Signer(keyring(tmp_path))).publish(drafts)
        while not (folder / ADDRESS).exists():
            stop.wait(0.05)
        url = json.loads((folder / ADDRESS).read_text())["url"]
        with urllib.request.urlopen(f"{url}/health") as answer:
            assert json.loads(answer.read())["status"] == "healthy"
    finally:
        # What is on the bus by now is still taken.
        stop.set()
        thread.join(120)
    lines = (folder / "jsonl" / "runs" / A.id / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["sequence"] for line in lines] == [*range(9)]
    (other,) = (folder / "jsonl" / "runs" / MESSAGES / "events.jsonl").read_text().splitlines()
    assert json.loads(other)["kind"] == "message.emergency-signal"
    assert json.loads(other)["data"]["reason"] == "because"
    assert not [it for it in bus.backlogs() if it.depth]
    bus.close()
