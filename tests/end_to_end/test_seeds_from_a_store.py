"""From a blueprint to an export by the command line, with seeds that come from a store.

On the way a compilation fails, a worker is killed in mid-job, and an artifact is damaged. The bits are those of a run
that builds its seeds itself.
"""

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from esper_app.cli.root import cli
from esper_bus_redis.server import RedisServer
from esper_tezzeret.api import ForgeQueue

SETTINGS = [
    "epochs=12",
    "twin=none",
    "host.widths=[4, 8]",
    "policy.germinate_until=0.5",
    "policy.fit_accuracy=1.0",
    "lifecycle.ramp_epochs=1",
    "gates.name=permissive",
    "checkpoints.every=0",
    'policy.blueprints=["conv-light", "depthwise"]',
]
PATIENT = ["prefetch.timeout_seconds=250"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def esper(*arguments):
    done = CliRunner().invoke(cli, [*map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.output


def run(folder, *options, settings=()):
    sets = (*SETTINGS, *settings, f"runs={folder}", "name=run")
    esper("run", "digits", *options, *(part for setting in sets for part in ("--set", setting)))
    return folder / "run"


def told(path):
    lines = map(json.loads, (path / "events.jsonl").read_text().splitlines())
    return [(it["kind"].removeprefix("modules."), it["data"]) for it in lines if it["kind"].startswith("modules.")]


def weights(path):
    return (path / "weights.safetensors").read_bytes()


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    return run(tmp_path_factory.mktemp("local"))


@pytest.fixture(params=["sqlite", "redis"])
def bus(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path}/bus.sqlite"
        return
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis")
    server.start()
    try:
        yield server.url
    finally:
        server.kill()


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("ESPER_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("ESPER_STORE", raising=False)
    (tmp_path / "state").mkdir(mode=0o700)
    return tmp_path / "state"


def started(bus, *options):
    command = [sys.executable, "-m", "esper_app.cli", "forge", "work", "--bus", bus, "--store", "local:", *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})


@contextmanager
def working(bus, *options):
    worker = started(bus, *options)
    try:
        yield
    finally:
        worker.terminate()
        assert worker.wait(timeout=300) == 0


@contextmanager
def killed_in_mid_job(bus, state):
    """A worker that is killed with -9 as soon as it has begun a job, and another one that is started then."""
    workers = [started(bus)]
    killed = threading.Event()

    def kill():
        queue = ForgeQueue(state, "spectator")
        deadline = time.monotonic() + 240
        while not any(it.state == "begun" for it in queue.statuses()) and time.monotonic() < deadline:
            killed.wait(0.05)
        workers[0].kill()
        workers[0].wait()
        queue.close()
        killed.set()
        workers.append(started(bus))

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        thread.join()
        workers[1].terminate()
        assert workers[1].wait(timeout=300) == 0


def damage(state):
    for path in (state / "store").rglob("*"):
        if path.is_file() and "sqlite" not in path.name:
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.chmod(0o600)
            path.write_bytes(bytes(content))


def test_from_blueprint_to_export(local, bus, state, tmp_path):
    assert "conv-light" in esper("catalogue", "ls")
    with killed_in_mid_job(bus, state) as killed:
        first = run(tmp_path / "1", "--store", "local:", "--bus", bus, settings=PATIENT)
    assert killed.is_set()
    assert {(kind, data["way"], data["exact"]) for kind, data in told(first)} == {("kernel-ready", "prefetch", True)}
    assert weights(first) == weights(local)
    assert "kernel-catalog-update" in esper("bus", "tail", bus, "kernel-ready", "-n", 100)
    assert "tezzeret.compile_ms" in esper("bus", "tail", bus, "telemetry", "-n", 100, "--decoded")
    damage(state)
    with working(bus):
        second = run(tmp_path / "2", "--store", "local:", "--bus", bus, settings=PATIENT)
    assert {(kind, data["way"]) for kind, data in told(second)} == {("kernel-ready", "prefetch")}
    assert weights(second) == weights(local)
    stages = [it["stage"] for it in json.loads((second / "topology.json").read_text())["slots"]]
    assert "FOSSILIZED" in stages
    esper("export", second, "--format", "safetensors")


#: What Python runs first: a process that compiles takes its time, on a quick machine too.
SLOW = """
import sys, time
if any("compile_process" in word for word in sys.orig_argv):
    time.sleep(60)
"""


def test_a_compilation_that_fails(local, state, tmp_path, monkeypatch):
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "sitecustomize.py").write_text(SLOW)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "first"))
    bus = f"sqlite:{tmp_path}/bus.sqlite"
    with working(bus, "--timeout", "1"):
        path = run(tmp_path / "1", "--store", "local:", "--bus", bus, settings=PATIENT)
    assert told(path)
    for kind, data in told(path):
        assert (kind, data["code"], data["built"]) == ("kernel-fallback", "E631", True)
        assert "quarantined" in data["reason"]
    assert weights(path) == weights(local)
