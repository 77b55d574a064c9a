"""A run beside a bus: the same run, and all that it says arrives; also with a server that dies on the way."""

import json
import threading
from collections import Counter
from math import nan
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from torch.nn.functional import cross_entropy

import esper_core
import esper_leyline_proto
from esper_app.cli.root import cli
from esper_bus_redis.server import RedisServer
from esper_bus_sqlite.bus import SqliteConfig, sqlite_bus
from esper_core.leyline.actions import Op
from esper_core.leyline.errors import EsperError, ExitCode
from esper_core.leyline.events import EventKind
from esper_core.tolaria.host import GrowingHost
from esper_leyline_proto.commands import AdaptationCommand, EmergencyLevel, EmergencySignal
from esper_leyline_proto.conversion import to_bytes
from esper_leyline_proto.learning import FieldReportPacket
from esper_leyline_proto.messages import RECORDS
from esper_leyline_proto.state import SystemStatePacket
from esper_leyline_proto.telemetry import TelemetryBatch
from esper_messaging.bus_sink import BusSink
from esper_messaging.reading import Reader, joined
from esper_messaging.run_messages import RunMessages
from esper_messaging.telemetry_sink import TelemetrySink
from esper_oona.api import Draft, Publisher, Replays, Signer, keyring, state_directory

TIMES = {"time", "monotonic", "run", "seconds", "train_seconds", "measure_seconds"}
#: What a run with a bus has more than one without.
OF_THE_BUS = {"bus"}
EPOCHS = 4
SETTINGS = [f"epochs={EPOCHS}", "policy.fit_accuracy=1.0", "seed=3", "checkpoints.every=0"]


def invoke(*arguments, command="run", code=0, settings=SETTINGS):
    result = CliRunner().invoke(
        cli, [command, "digits", *(part for s in settings for part in ("--set", s)), *arguments]
    )
    assert result.exit_code == code, result.output
    return result.output


def timeless(data):
    if isinstance(data, dict):
        return {key: timeless(value) for key, value in data.items() if key not in TIMES}
    return [timeless(item) for item in data] if isinstance(data, list) else data


def result(run):
    found = json.loads((run / "result.json").read_text())
    return timeless({key: value for key, value in found.items() if key not in OF_THE_BUS | {"sinks"}})


def events(run):
    """All but the first, which holds the configuration."""
    found = [timeless(json.loads(line)) for line in (run / "events.jsonl").read_text().splitlines()]
    return found[1:]


class Heard:
    """A consumer of everything."""

    def __init__(self, bus, state, group="test"):
        self.records = {}
        classes = (SystemStatePacket, AdaptationCommand, TelemetryBatch, FieldReportPacket, EmergencySignal)
        self.reader = Reader(
            bus,
            group,
            "c",
            dict.fromkeys(classes, self.take),
            signer=Signer(keyring(state)),
            replays=Replays(state / "replays.sqlite"),
        )

    def take(self, record, envelope):
        self.records.setdefault(type(record), []).append(record)

    def all(self):
        while self.reader.poll():
            pass
        return self.records


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def alone(folder):
    invoke("--set", f"runs={folder}/alone")
    return folder / "alone" / "digits-1"


@pytest.fixture(scope="module")
def together(folder):
    """The same run on a bus, and what it printed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ESPER_STATE", "")
        state = folder / "state"
        output = invoke("--set", f"runs={folder}/together", "--bus", "sqlite:", "--state", f"{state}")
        assert state_directory() == state
        bus = sqlite_bus(SqliteConfig())
        heard = Heard(bus, state).all()
        bus.close()
    return folder / "together" / "digits-1", output, heard


class TestARunOnABus:
    def test_is_the_same_run(self, alone, together):
        run, *_ = together
        assert (run / "weights.safetensors").read_bytes() == (alone / "weights.safetensors").read_bytes()
        assert events(run) == events(alone)[: len(events(alone))]
        assert timeless(json.loads((run / "topology.json").read_text())) == timeless(
            json.loads((alone / "topology.json").read_text())
        )
        mine, other = result(run), result(alone)
        assert mine == other
        assert "bus" not in json.loads((alone / "result.json").read_text())

    def test_says_what_became_of_its_messages(self, together):
        run, output, heard = together
        bus = json.loads((run / "result.json").read_text())["bus"]
        assert (bus["name"], bus["state"], bus["kept"], bus["dropped"], bus["outages"]) == (
            "sqlite",
            "connected",
            0,
            {},
            0,
        )
        assert bus["sent"]["system-state"] == len(heard[SystemStatePacket])
        assert f"bus: {sum(bus['sent'].values())} messages sent to sqlite" in output

    def test_says_how_each_host_stands_once_for_each_epoch(self, together):
        found = Counter((it.host, it.epoch) for it in together[2][SystemStatePacket])
        last = max(epoch for host, epoch in found if host == "control")
        lengths = {"grown": EPOCHS, "twin": EPOCHS, "control": last}
        assert found == {(host, epoch): 1 for host, epochs in lengths.items() for epoch in range(epochs + 1)}
        assert last > EPOCHS  # it has what growing has cost
        last = [it for it in together[2][SystemStatePacket] if it.host == "grown"][-1]
        assert last.validation is not None
        assert last.hardware.device_type == "cpu"
        assert last.hardware.total_memory_bytes > 0

    def test_says_every_action_with_its_verdict(self, together):
        run, _, heard = together
        logged = [it for it in events(run) if it["kind"] == EventKind.ACTION_DECIDED]
        commands = heard[AdaptationCommand]
        assert [it.action.id for it in commands] == [it["data"]["id"] for it in logged]
        assert [(it.host, it.epoch) for it in commands] == [(it["host"], it["epoch"]) for it in logged]
        denied = {it["data"]["action_id"] for it in events(run) if it["kind"] == EventKind.ACTION_DENIED}
        assert {it.action.id for it in commands if not it.verdict.allowed} == denied
        assert any(it.action.op is Op.GERMINATE for it in commands)

    def test_says_every_event_and_how_the_bus_is(self, together):
        run, _, heard = together
        packets = [packet for batch in heard[TelemetryBatch] for packet in batch.packets]
        sequences = sorted(event.sequence for packet in packets for event in packet.events)
        assert sequences == [*range(len(events(run)) + 1)]
        assert {packet.source for packet in packets} >= {"tolaria", "tamiyo", "kasmina", "nissa", "oona"}
        last = [packet for packet in packets if packet.source == "oona"][-1]
        assert {it.name for it in last.metrics} >= {"oona.published", "oona.publish_seconds.p99", "oona.lost"}

    def test_reports_what_there_is_to_learn(self, together):
        run, _, heard = together
        (report,) = heard[FieldReportPacket]
        assert report.trajectory is None  # the policy does not learn
        found = json.loads((run / "result.json").read_text())["seeds"]
        assert [seed.seed_id for seed in report.seeds] == [it["seed_id"] for it in found]

    def test_has_no_emergency(self, together):
        assert EmergencySignal not in together[2]


def old_class(name):
    """The class of a message in the contract of version 0.1."""
    pool = descriptor_pool.DescriptorPool()
    released = Path(esper_leyline_proto.__file__).parents[2] / "tests" / "released" / "0.1.binpb"
    for file in descriptor_pb2.FileDescriptorSet.FromString(released.read_bytes()).file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"esper.leyline.v1.{name}"))


def test_an_old_producer_is_understood_by_a_new_consumer_and_the_reverse(together, tmp_path):
    sent = [records[0] for records in together[2].values()]
    types = {record: type for type, record in RECORDS.items()}
    bus = sqlite_bus(SqliteConfig(url=f"sqlite:{tmp_path}/bus.sqlite"))
    drafts = []
    for record in sent:
        old = old_class(type(record).__name__).FromString(to_bytes(record))  # an old consumer
        old.DiscardUnknownFields()
        drafts.append(Draft(type=types[type(record)], payload=old.SerializeToString()))
    Publisher(bus, Signer(keyring(tmp_path))).publish(drafts)
    heard = Heard(bus, tmp_path).all()
    bus.close()
    assert heard == {type(record): [record] for record in sent}


def test_what_is_told_does_not_depend_on_how_much_telemetry_there_is(tmp_path, monkeypatch):
    monkeypatch.setenv("ESPER_STATE", str(tmp_path))
    quiet = ["epochs=2", "twin=none", "telemetry.level=off"]
    invoke("--set", f"runs={tmp_path}", "--bus", "sqlite:", settings=quiet)
    bus = sqlite_bus(SqliteConfig())
    heard = Heard(bus, tmp_path).all()
    bus.close()
    assert len(heard[AdaptationCommand]) == 2
    assert not [event for batch in heard[TelemetryBatch] for packet in batch.packets for event in packet.events]


def test_a_host_that_is_rolled_back_and_then_stopped_is_an_emergency_each_time(tmp_path, monkeypatch):
    monkeypatch.setenv("ESPER_STATE", str(tmp_path))
    train = GrowingHost._train

    def disturbed(host, epoch):
        if epoch >= 1:
            with torch.no_grad():
                next(host.model.parameters()).view(-1)[0] = nan
        return train(host, epoch)

    monkeypatch.setattr(GrowingHost, "_train", disturbed)
    settings = ["epochs=4", "twin=none", "governor.max_rollbacks=1", f"runs={tmp_path}"]
    invoke("--bus", "sqlite:", settings=settings, code=ExitCode.WENT_WRONG)
    bus = sqlite_bus(SqliteConfig())
    found = Heard(bus, tmp_path).all()[EmergencySignal]
    assert len(bus.tail("emergency", 9)) == 2
    bus.close()
    assert [it.level for it in found] == [EmergencyLevel.CONSERVATIVE, EmergencyLevel.HALT]
    assert all((it.origin, it.run, it.attributes["host"]) == ("tolaria", "digits-1", "grown") for it in found)
    assert "nan" in found[0].reason


@pytest.mark.slow
def test_a_training_reports_trajectories_after_each_round(tmp_path, monkeypatch):
    monkeypatch.setenv("ESPER_STATE", str(tmp_path))
    settings = ["epochs=3", "twin=none", "hosts=2", f"runs={tmp_path}", "executor.name=serial"]
    invoke("--rounds", "2", "--bus", "sqlite:", command="train", settings=settings)
    bus = sqlite_bus(SqliteConfig())
    heard = Heard(bus, tmp_path).all()
    bus.close()
    by_id = {}
    for part in heard[FieldReportPacket]:
        by_id.setdefault(part.id, []).append(part)
    whole = [joined(parts) for parts in by_id.values()]
    assert Counter((it.trajectory.host, it.trajectory.round) for it in whole) == {
        (f"grown-{host}", round): 1 for host in (1, 2) for round in (0, 1)
    }
    for it in whole:
        assert [step.epoch for step in it.trajectory.steps] == [0, 1, 2]
        assert it.observation_schema
        assert all(step.reward is not None and step.decision.memo for step in it.trajectory.steps)
    states = Counter((it.round, it.host, it.epoch) for it in heard[SystemStatePacket])
    assert states == {(r, f"grown-{host}", epoch): 1 for r in (0, 1) for host in (1, 2) for epoch in range(4)}


def test_a_run_refuses_a_bus_that_no_other_process_sees(tmp_path, monkeypatch):
    monkeypatch.setenv("ESPER_STATE", str(tmp_path))
    said = invoke("--set", f"runs={tmp_path}/runs", "--bus", "memory:", code=2)
    assert "E614" in said
    assert "sqlite:" in said
    assert not (tmp_path / "runs").exists()


class Outage:
    """A server of Redis that is killed after a run's second epoch, and started again after its twelfth.

    The run waits there until it has noticed, so that it does not matter how quick it is.
    """

    def __init__(self, folder, monkeypatch):
        folder.mkdir()
        self.server = RedisServer(folder)
        self.server.start()
        self.noticed = threading.Event()
        self.to_come = {2: self.server.kill, 12: self.answer_again}
        report, notice = RunMessages.host_reports, TelemetrySink.notice

        def host_reports(messages, reports, *more):
            report(messages, reports, *more)
            self.after([it.epoch for it in reports])

        def told(sink, message):
            notice(sink, message)
            if "degraded" in message:
                self.noticed.set()

        monkeypatch.setattr(RunMessages, "host_reports", host_reports)
        monkeypatch.setattr(TelemetrySink, "notice", told)

    def after(self, epochs):
        """Do what is due after an epoch, once: the twin has its own."""
        for epoch in epochs:
            self.to_come.pop(epoch, lambda: None)()

    def answer_again(self):
        assert self.noticed.wait(200)
        self.server.start()


@pytest.mark.slow
def test_a_server_that_is_killed_on_the_way_costs_nothing_that_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("ESPER_STATE", str(tmp_path / "state"))
    settings = [*SETTINGS, "epochs=30", "twin=epochs"]
    outage = Outage(tmp_path / "redis", monkeypatch)
    try:
        output = invoke("--set", f"runs={tmp_path}/on", "--bus", outage.server.url, settings=settings)
        invoke("--set", f"runs={tmp_path}/off", settings=settings)
        run, other = tmp_path / "on" / "digits-1", tmp_path / "off" / "digits-1"
        assert (run / "weights.safetensors").read_bytes() == (other / "weights.safetensors").read_bytes()
        logged, notices = events(run), [it for it in events(run) if it["kind"] == EventKind.NOTICE]
        mine, others = (
            [it for it in map(unnumbered, them) if it["kind"] != EventKind.NOTICE] for them in (logged, events(other))
        )
        assert mine == others
        assert sum("degraded" in it["data"]["message"] for it in notices) == 1
        told = json.loads((run / "result.json").read_text())["bus"]
        assert told["outages"] == 1
        assert "it stopped answering once" in output
        CliRunner().invoke(
            cli, ["bus", "send", outage.server.url]
        )  # if the run ended before the server was asked again
        heard = Heard(open_redis(outage.server.url), state_directory()).all()
    finally:
        outage.server.kill()
    actions = Counter(it.action.id for it in heard[AdaptationCommand])
    assert actions == {it["data"]["id"]: 1 for it in logged if it["kind"] == EventKind.ACTION_DECIDED}
    assert len(heard[FieldReportPacket]) == 1
    assert len({it.id for it in heard.get(EmergencySignal, ())}) == len(heard.get(EmergencySignal, ()))


def unnumbered(event):
    return {key: value for key, value in event.items() if key != "sequence"}


def open_redis(url):
    from esper_bus_redis.bus import RedisBus, RedisConfig

    return RedisBus(RedisConfig(url=url))


@pytest.mark.slow
def test_a_server_that_is_not_there_keeps_no_run_from_its_end_and_gets_what_was_kept_later(tmp_path, monkeypatch):
    monkeypatch.setenv("ESPER_STATE", str(tmp_path / "state"))
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis")
    output = invoke("--set", f"runs={tmp_path}", "--bus", server.url)
    told = json.loads((tmp_path / "digits-1" / "result.json").read_text())["bus"]
    assert (told["state"], told["sent"]) == ("degraded", {})
    assert told["kept"] > EPOCHS
    assert told["dropped"].keys() == {"system-state", "telemetry"}
    assert "bus: degraded" in output
    assert "kept in the outbox" in output
    try:
        server.start()
        sent = CliRunner().invoke(cli, ["bus", "send", server.url])
        assert sent.output == f"sent: {told['kept']}\n"
        heard = Heard(open_redis(server.url), state_directory()).all()
    finally:
        server.kill()
    # The breaker opens in a run that is long enough for it.
    emergencies = heard.get(EmergencySignal, [])
    assert len(heard[AdaptationCommand]) + len(heard[FieldReportPacket]) + len(emergencies) == told["kept"]
    assert [it.origin for it in emergencies] in ([], ["oona"])


class TestWhatIsRefused:
    @pytest.fixture(autouse=True)
    def state(self, tmp_path, monkeypatch):
        monkeypatch.setenv("ESPER_STATE", str(tmp_path))

    def refused(self, *arguments):
        found = CliRunner().invoke(cli, ["run", "digits", *arguments])
        assert found.exit_code != 0
        return found.output

    def test_a_bus_that_nobody_offers(self, tmp_path):
        assert "E204" in self.refused("--bus", "carrier-pigeon:", "--state", str(tmp_path))

    def test_a_password_that_would_be_written_down(self, tmp_path):
        output = self.refused("--bus", "redis://:hunter2@localhost", "--state", str(tmp_path))
        assert "E202" in output
        assert "hunter2" not in output

    def test_an_option_that_the_bus_does_not_have(self, tmp_path):
        assert "E201" in self.refused("--bus", "sqlite:?colour=red", "--state", str(tmp_path))

    def test_a_state_directory_that_nothing_needs(self, tmp_path):
        assert "the run has no bus, store or champion" in self.refused("--state", str(tmp_path))

    def test_a_bus_for_a_run_that_goes_on(self):
        found = CliRunner().invoke(cli, ["run", "--resume", "x", "--bus", "sqlite:"])
        assert found.exit_code == 2


def test_the_section_of_a_file_does_the_same_as_the_option(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('task = "digits"\n[bus]\nname = "sqlite"\nurl = "sqlite:somewhere"\n')
    shown = CliRunner().invoke(cli, ["config", "show", "--config", str(file)])
    assert 'url = "sqlite:somewhere"' in shown.output, shown.output


class TestATrainingOfOnesOwn:
    """`grow` with a bus among its sinks."""

    EPOCHS = 4

    @pytest.fixture(autouse=True)
    def state(self, tmp_path, monkeypatch):
        monkeypatch.setenv("ESPER_STATE", str(tmp_path / "state"))

    def trained(self, sinks, **more):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
        inputs, targets = torch.randn(32, 6), torch.arange(32) % 2
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        handle = esper_core.grow(
            model,
            sites=["1"],
            optimizer=optimizer,
            epochs=self.EPOCHS,
            blueprints=["mlp"],
            policy="periodic",
            sinks=sinks,
            sample=inputs[:8],
        )
        with handle:
            for _ in range(self.EPOCHS):
                handle.model.train()
                for first in range(0, 32, 8):
                    optimizer.zero_grad()
                    loss = cross_entropy(handle.model(inputs[first : first + 8]), targets[first : first + 8])
                    loss.backward()
                    optimizer.step()
                handle.epoch_end([(inputs, targets)], cross_entropy, train_loss=loss.item())

    def test_is_heard(self, tmp_path):
        sink = BusSink("sqlite:")
        self.trained([sink])
        assert (sink.outcome["name"], sink.outcome["kept"], sink.outcome["dropped"]) == ("sqlite", 0, {})
        heard = Heard(sqlite_bus(SqliteConfig()), state_directory()).all()
        kinds = Counter(
            event.kind for batch in heard[TelemetryBatch] for packet in batch.packets for event in packet.events
        )
        assert (kinds[EventKind.EPOCH_COMPLETED], kinds[EventKind.RUN_FINISHED]) == (self.EPOCHS, 1)
        assert len(heard[AdaptationCommand]) == kinds[EventKind.ACTION_DECIDED] > 0

    def test_goes_on_without_its_bus(self, tmp_path):
        sink = BusSink(f"redis+unix://{tmp_path}/nowhere.sock")
        self.trained([sink])
        assert (sink.outcome["state"], sink.outcome["sent"]) == ("degraded", {})
        assert sink.outcome["kept"] > 0

    def test_an_address_that_nobody_knows_is_refused(self):
        with pytest.raises(EsperError) as raised:
            BusSink("carrier-pigeon:")
        assert raised.value.code == "E204"
