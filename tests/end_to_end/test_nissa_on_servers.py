"""Nissa as a service between two servers: NATS, which is killed on the way, and Elasticsearch's protocol."""

import importlib.util
import json
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch

from esper_app.api import load_plugins
from esper_bus_nats.server import NatsServer
from esper_core.api import Event, EventKind
from esper_messaging.drafts import RunIdentity, telemetry_drafts
from esper_oona.api import Publisher, Signer, keyring, open_bus
from esper_service_nissa.config import NissaConfig
from esper_service_nissa.running import run_nissa
from esper_service_nissa.service import ADDRESS

_SPEC = importlib.util.spec_from_file_location("esper_test_servers", Path(__file__).parents[1] / "servers.py")
servers = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(servers)

RUNS = (RunIdentity(name="a-1", id="ida"), RunIdentity(name="b-1", id="idb"))
PATIENCE = 120


def log_of(run, count):
    """A run that begins, and is stopped by its governor if it is the first one."""
    began = {"name": run.name, "started": f"when {run.id} began", "seed": 3, "config": {"epochs": 9}}
    mode = {"mode": "stopped" if run is RUNS[0] else "normal", "reason": "because"}
    kinds = [(EventKind.RUN_STARTED, began), (EventKind.GOVERNOR_INTERVENED, mode)]
    kinds += [(EventKind.NOTICE, {"message": f"{number}"}) for number in range(2, count)]
    return [
        Event(
            kind=kind,
            host="" if not number else "grown",
            data=data,
            sequence=number,
            time=1.7e9 + 5 * number,
            run=run.name,
        )
        for number, (kind, data) in enumerate(kinds)
    ]


def until(condition):
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, "it never became true"
        time.sleep(0.05)
    return found


def documents(client):
    if not client.indices.exists(index="esper-events"):
        return []
    client.indices.refresh(index="esper-events")
    hits = client.search(index="esper-events", size=1000)["hits"]["hits"]
    return sorted((it["_source"]["run"], it["_source"]["sequence"]) for it in hits)


@pytest.mark.slow
def test_every_event_is_stored_once_though_the_bus_is_killed(tmp_path, monkeypatch):
    monkeypatch.setenv("ESPER_STATE", str(tmp_path))
    plugins, stop, folder = load_plugins(), threading.Event(), tmp_path / "nissa"
    for name in ("nats", "noida"):
        (tmp_path / name).mkdir()
    server = NatsServer(tmp_path / "nats")
    server.start()
    bus = open_bus(server.url, plugins.registry)
    with servers.elasticsearch_server(tmp_path / "noida") as url, Elasticsearch(url) as client:
        config = NissaConfig(sinks={"elasticsearch": {"url": url}}, interval=0.1)
        thread = threading.Thread(target=run_nissa, args=(bus, config, plugins, tmp_path, folder, stop))
        thread.start()
        try:
            publisher = Publisher(bus, Signer(keyring(tmp_path)))
            logs = {run: log_of(run, 12) for run in RUNS}
            for run, log in logs.items():
                publisher.publish(telemetry_drafts(log[:6], run, 0))
            until(lambda: len(documents(client)) >= 12)
            server.kill()
            server.start()
            for run, log in logs.items():
                # What was said before the server died is said again by a run that is resumed.
                until(lambda run=run, log=log: _published(publisher, telemetry_drafts(log[4:], run, 0)))
            wanted = sorted((run.name, number) for run in RUNS for number in range(12))
            until(lambda: documents(client) == wanted)
            address = json.loads((folder / ADDRESS).read_text())["url"]
            # Only the run that was stopped has the alert, whatever the other one says.
            assert until(lambda: _stopped(address)) == {"a-1"}
        finally:
            stop.set()
            thread.join(PATIENCE)
            bus.close()
            server.kill()
    assert not thread.is_alive()


def _stopped(address):
    with urllib.request.urlopen(f"{address}/alerts") as answer:
        alerts = json.loads(answer.read())["alerts"]
    return {it["run"] for it in alerts if it["name"] == "EsperGovernorStopped"}


def _published(publisher, drafts):
    """A bus that has just come back may not answer at once."""
    from esper_core.api import EsperError

    try:
        publisher.publish(drafts)
    except EsperError as error:
        if error.code != "E611":
            raise
        return False
    return True
