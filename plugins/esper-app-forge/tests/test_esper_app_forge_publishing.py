"""What a forge says on a bus, and a consumer that hears it."""

import json

import attrs
import pytest
from click.testing import CliRunner

from esper_app.api import load_plugins
from esper_app_bus.command import bus as bus_command
from esper_app_forge.command import forge
from esper_app_forge.publishing import catalogue_update, speaking
from esper_core.api import EsperError
from esper_leyline_proto.kernels import KernelCatalogUpdate
from esper_leyline_proto.telemetry import TelemetryBatch, TelemetryLevel
from esper_messaging.forge_messages import is_genuine
from esper_messaging.reading import Reader
from esper_oona.api import Replays, Signer, keyring, open_bus
from esper_tezzeret.api import Forge, ForgeQueue, Order, Product
from esper_urza.api import open_store

NAME = "esper-blueprints-extra/highway"


class Instead:
    """A workshop that answers at once, or says that it cannot."""

    def __init__(self, why=None):
        self.why = why

    def make(self, order, compiler, *, beat):
        if self.why is not None:
            raise EsperError("E626", "not compiled", why=self.why)
        return Product(content=b"artifact", facts={"compile_ms": 12.5, "inference_ms": 0.5})


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("ESPER_STATE", str(tmp_path / "state"))
    monkeypatch.setattr("esper_tezzeret.queue.DELAY_SECONDS", 0.01)
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


@pytest.fixture
def url(tmp_path):
    return f"sqlite:{tmp_path}/bus.sqlite"


@pytest.fixture
def store(plugins, state):
    found = open_store("local:", plugins.registry)
    yield found
    found.store.close()


def order(**changes):
    return Order(**{"blueprint": NAME, "layout": "BD", "shape": (8,), "compilers": ("eager",)} | changes)


def forged(plugins, store, state, url, *orders, workshop=None):
    queue = ForgeQueue(state, "test", lease_seconds=0.0)
    outcomes = []
    try:
        with speaking(url, plugins) as (saved, attempted):
            made = Forge(queue, store, plugins.registry, workshop or Instead(), saved=saved)
            made.submit(orders)
            for outcome in made.run():
                attempted(outcome)
                outcomes.append(outcome)
    finally:
        queue.close()
    return outcomes


def heard(plugins, state, url):
    """Return what a consumer gets."""
    updates, packets = [], []
    bus = open_bus(url, plugins.registry)
    handlers = {
        KernelCatalogUpdate: lambda record, envelope: updates.append(record),
        TelemetryBatch: lambda record, envelope: packets.extend(record.packets),
    }
    replays = Replays(state / "replays.sqlite")
    reader = Reader(bus, "kasmina", "kasmina-1", handlers, signer=Signer(keyring(state)), replays=replays)
    while reader.poll():
        pass
    bus.close()
    return updates, packets


def test_each_save_is_an_update_and_telemetry(plugins, store, state, url):
    outcomes = forged(plugins, store, state, url, order(), order(shape=(9,)))
    updates, packets = heard(plugins, state, url)
    assert [it.artifact_ref for it in updates] == [it.artifact for it in outcomes]
    for update in updates:
        artifact = store.read(update.artifact_ref)
        assert (update.blueprint, update.checksum) == (NAME, artifact.manifest.sha256)
        assert update.guard_digest == artifact.manifest.inputs.guard_digest
        assert (update.compile_ms, update.parameters) == (12.5, {"bias": 0.0})
        assert is_genuine(update, keyring(state))
    assert [{it.name: it.value for it in packet.metrics} for packet in packets] == [
        {"tezzeret.compile_ms": 12.5, "tezzeret.inference_ms": 0.5}
    ] * 2
    assert {packet.source for packet in packets} == {"tezzeret"}


def test_what_was_there_already_is_not_said_again(plugins, store, state, url):
    forged(plugins, store, state, url, order())
    assert [it.state for it in forged(plugins, store, state, url, order())] == ["found"]
    updates, _ = heard(plugins, state, url)
    assert len(updates) == 1


def test_what_a_forge_saved_before_it_was_killed_is_said_once(plugins, store, state, url):
    queue = ForgeQueue(state, "killed", lease_seconds=0.0)

    class KilledError(Exception):
        pass

    def killed(manifest):
        with speaking(url, plugins) as (saved, _):
            saved(manifest)
        raise KilledError

    made = Forge(queue, store, plugins.registry, Instead(), saved=killed)
    made.submit([order()])
    with pytest.raises(KilledError):
        [*made.run()]
    queue.close()
    assert [it.state for it in forged(plugins, store, state, url)] == ["found"]
    updates, _ = heard(plugins, state, url)
    assert len(updates) == 1


def test_failures_are_telemetry(plugins, store, state, url):
    forged(plugins, store, state, url, order(), workshop=Instead("it broke"))
    updates, packets = heard(plugins, state, url)
    assert updates == []
    levels = [TelemetryLevel.WARNING, TelemetryLevel.WARNING, TelemetryLevel.ERROR]
    assert [(it.level, it.health.summary) for it in packets] == [(level, "E626: it broke") for level in levels]


def test_a_bus_that_does_not_answer_keeps_nothing_from_being_made(plugins, store, state, tmp_path, capsys):
    away = f"redis+unix://{tmp_path}/nobody.sock"
    assert [it.state for it in forged(plugins, store, state, away, order())] == ["made"]
    said = capsys.readouterr().out
    assert "1 messages are kept in the outbox" in said
    assert "degraded" in said


def test_a_changed_update_is_not_genuine(plugins, store, state, url):
    forged(plugins, store, state, url, order())
    (update,), _ = heard(plugins, state, url)
    for name, value in {"checksum": "0" * 64, "artifact_ref": "1" * 64, "key_id": "other", "signature": None}.items():
        assert not is_genuine(attrs.evolve(update, **{name: value}), keyring(state))


def test_people_can_read_it(plugins, store, state, url):
    (outcome,) = forged(plugins, store, state, url, order())
    shown = CliRunner().invoke(bus_command, ["tail", url, "kernel-ready", "--decoded"], catch_exceptions=False).output
    assert all(it in shown for it in (f"blueprint: {NAME}", f"artifact_ref: {outcome.artifact}", "compile_ms: 12.5"))
    line = CliRunner().invoke(bus_command, ["tail", url, "kernel-ready", "--json"], catch_exceptions=False).output
    assert json.loads(line)["content"]["artifact_ref"] == outcome.artifact


def test_an_update_says_what_the_manifest_says(plugins, store, state, url):
    (outcome,) = forged(plugins, store, state, url, order())
    manifest = store.read(outcome.artifact).manifest
    update = catalogue_update(manifest)
    assert update.artifact_version.startswith(f"{manifest.inputs.version}+")
    assert update.issued_at.timestamp() == pytest.approx(manifest.made_at, abs=1e-3)
    assert update.prewarm_ms is None


@pytest.mark.parametrize(("url", "code"), [("sqliet:x", "E204"), ("sqlite:x?surviv=power", "E201")])
def test_an_address_that_cannot_be_is_refused_before_anything_is_made(url, code, state):
    with pytest.raises(EsperError) as caught:
        CliRunner().invoke(forge, ["run", "--blueprint", "highway", "--bus", url], catch_exceptions=False)
    assert caught.value.code == code
    with_jobs = ForgeQueue(state, "test")
    assert with_jobs.statuses() == []
    with_jobs.close()
