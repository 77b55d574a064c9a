"""A real Prometheus reads a real run, in which a plugin fails and which is killed and resumed; faults raise alerts."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from esper_alerts.alerts import ALERTS
from esper_alerts.objectives import objective_alerts, objective_recordings
from esper_core.api import Event, EventKind
from esper_sink_prometheus.config import PrometheusConfig
from esper_sink_prometheus.dashboard import dashboard
from esper_sink_prometheus.endpoint import TARGETS
from esper_sink_prometheus.rules import RECORDINGS, rules_file
from esper_sink_prometheus.sink import PrometheusSink

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

EPOCHS, FAILS, DIES = 12, 4, 7

#: Fails in an epoch, kills its process once, and goes on: each time when somebody has looked.
PLUGIN = f"""
import os
import signal
from pathlib import Path
from threading import Event

from esper_core.hooks import hookimpl

ESPER_API = "2.0"


def wait_for(name):
    for _ in range(2400):
        if Path(name).exists():
            return
        Event().wait(0.1)


@hookimpl
def esper_epoch_end(host, evidence):
    if host == "twin":
        return
    if evidence.epoch == {FAILS}:
        wait_for("seen")
        raise RuntimeError("the drill")
    if evidence.epoch == {DIES} and not Path("died").exists():
        wait_for("alerted")
        Path("died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if evidence.epoch == {EPOCHS - 1}:
        wait_for("again")
"""

CONFIG = f"""
name = "live"
epochs = {EPOCHS}
twin = "epochs"
host.widths = [4, 8]
telemetry = "debug"

[checkpoints]
every = 1

[rewards]
terms = [{{ name = "stage-potential", weight = 1.0 }}, {{ name = "attribution", weight = 5.0 }}]

[sinks]
names = ["jsonl", "prometheus"]
"""

SERVER = """
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
scrape_configs:
  - job_name: esper
    file_sd_configs:
      - files: ["runs/prometheus-targets/*.json"]
        refresh_interval: 1s
"""


class Server:
    """A running Prometheus."""

    def __init__(self, program: str, folder: Path) -> None:
        # As they are, but for windows of 20 seconds instead of 5 minutes: that is how long an alert takes to clear.
        rules = rules_file().replace("[5m]", "[20s]").replace("offset 5m", "offset 20s")
        (folder / "rules.yml").write_text(rules)
        (folder / "prometheus.yml").write_text(SERVER)
        self.log = folder / "prometheus.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    program,
                    "--config.file=prometheus.yml",
                    "--storage.tsdb.path=tsdb",
                    "--web.listen-address=127.0.0.1:0",
                ],
                cwd=folder,
                stdout=log,
                stderr=log,
            )
        self.address = until(self._ready, "Prometheus is ready")

    def _ready(self) -> str | None:
        text = self.log.read_text()
        if "Server is ready" not in text:
            return None
        return next(line for line in text.splitlines() if 'msg="Listening on"' in line).partition("address=")[2]

    def values(self, query: str) -> list[float]:
        """The values of an expression now."""
        with urlopen(f"http://{self.address}/api/v1/query?{urlencode({'query': query})}", timeout=120) as answer:
            return [float(it["value"][1]) for it in json.load(answer)["data"]["result"]]


def until(found: Callable[[], Any], what: str, seconds: float = 120) -> Any:
    """Ask until there is an answer: nothing tells when Prometheus has read something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := found():
            return answer
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds:g} s: {what}")


def esper(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "esper_app.cli", "run", *arguments, "--plugin-path", "drill.py"]
    with (folder / "run.log").open("ab") as log:
        return subprocess.Popen(command, cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=log, stderr=log)


def events_of(log: Path) -> list[Event]:
    whole, _, _ = log.read_text().rpartition("\n")  # of a run that was killed the last line may be torn
    lines = [json.loads(line) for line in whole.splitlines()]
    return [Event(**{**line, "kind": EventKind(line["kind"])}) for line in lines]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("live")
    (folder / "drill.py").write_text(PLUGIN)
    (folder / "run.toml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def watched(prometheus_program: str, folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The run's directory, and what Prometheus said meanwhile."""
    server = Server(prometheus_program, folder)
    runs: list[subprocess.Popen[bytes]] = []
    try:
        runs.append(esper(folder, "digits", "--config", "run.toml"))
        run, said = folder / "runs" / "live", {}
        said["loss"] = until(
            lambda: server.values(f'esper_validation_loss_nats{{host="grown"}} and esper_epoch == {FAILS}'),
            "a scrape",
            240,
        )
        said["rate"] = until(lambda: server.values('esper:epochs:rate5m{host="grown"}'), "a recorded series")
        said["before"] = server.values('ALERTS{alertname="EsperPluginFailing"}')
        (folder / "seen").touch()
        alert = 'ALERTS{alertname="EsperPluginFailing", alertstate="firing"}'
        # It fires for 20 seconds, in which nobody need have asked.
        said["firing"] = until(lambda: server.values(f"max_over_time({alert}[10m])"), "the alert fires", 240)
        (folder / "alerted").touch()
        said["killed"] = runs[0].wait(240)
        said["cleared"] = until(lambda: not server.values(alert), "the alert clears")
        said["up"] = until(lambda: server.values('up{job="esper"} == 0'), "the run is gone")
        (folder / "before.jsonl").write_bytes((run / "events.jsonl").read_bytes())
        runs.append(esper(folder, "--resume", "runs/live"))
        said["again"] = until(lambda: server.values(f'esper_epoch{{host="grown"}} == {EPOCHS - 1}'), "it goes on", 240)
        (folder / "again").touch()
        said["exit"] = runs[1].wait(240)
        yield run, said
    finally:
        for process in (server.process, *runs):
            if process.poll() is None:
                process.kill()
                process.wait()


def test_prometheus_finds_a_run_and_reads_its_numbers(watched: tuple[Path, dict[str, Any]]) -> None:
    run, said = watched
    losses = [
        it.data["validation"]["loss"]
        for it in events_of(run / "events.jsonl")
        if (it.kind, it.host, it.epoch) == (EventKind.EPOCH_COMPLETED, "grown", FAILS)
    ]
    assert said["loss"] == losses
    assert len(said["rate"]) == 1
    assert said["exit"] == 0, (run.parents[1] / "run.log").read_text()
    assert said["again"] == [EPOCHS - 1]
    assert not (run.parent / TARGETS / "live.json").exists()


def test_a_plugin_that_fails_is_an_alert_while_it_goes_on(watched: tuple[Path, dict[str, Any]]) -> None:
    _, said = watched
    assert said["before"] == []
    assert said["firing"] == [1.0]
    assert said["killed"] == -9
    assert said["cleared"] is True
    assert said["up"] == [0.0]


Series = dict[str, list[float | None]]


def replay(folder: Path, parts: Iterable[tuple[int, Iterable[Event]]], until_minute: int) -> Series:
    """The series of a run whose epochs take a minute each; each part begins in a minute with a process of its own."""
    found: Series = {}
    for first, events in parts:
        now = [60.0 * first]
        sink = PrometheusSink(PrometheusConfig(http=False, textfile=str(folder / "out.prom")), clock=lambda: now[0])  # noqa: B023
        sink.open({"directory": None, "name": "live", "seed": 0, "config": {"epochs": EPOCHS}})
        minute = first
        for event in events:
            sink.emit([Event(**{**_fields(event), "time": now[0]})])
            if event.kind is EventKind.EPOCH_COMPLETED and event.host == "grown":
                sink.flush()
                add(found, minute, folder / "out.prom")
                minute += 1
                now[0] = 60.0 * minute
        if any(event.kind is EventKind.RUN_FINISHED for event in events):
            sink.close()
            add(found, minute, folder / "out.prom")
    for values in found.values():  # a file stays as it is until it is written again
        for place in range(1, until_minute + 1):
            values += [None] * (place + 1 - len(values))
            if values[place] is None:
                values[place] = values[place - 1]
    return found


def _fields(event: Event) -> dict[str, Any]:
    return {name: getattr(event, name) for name in ("kind", "host", "epoch", "round", "data", "sequence")}


def add(found: Series, minute: int, path: Path) -> None:
    for family in text_string_to_metric_families(path.read_text()):
        for it in family.samples:
            name = f"{it.name}{{{', '.join(f'{key}={json.dumps(text)}' for key, text in it.labels.items())}}}"
            values = found.setdefault(name, [])
            values += [None] * (minute + 1 - len(values))
            values[minute] = it.value


@pytest.fixture(scope="module")
def killed(watched: tuple[Path, dict[str, Any]], folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Series:
    """The run as a text file shows it: it is killed, and goes on 45 minutes later."""
    run, _ = watched
    first = events_of(folder / "before.jsonl")
    rest = [it for it in events_of(run / "events.jsonl") if it.time > first[-1].time]
    assert rest[-1].kind is EventKind.RUN_FINISHED
    return replay(tmp_path_factory.mktemp("replay"), [(1, first), (54, rest)], 80)


def test_a_killed_run_is_stalled_until_it_goes_on(promtool: Any, killed: Series) -> None:
    promtool.check_alert("EsperRunStalled", killed, {9: False, 45: True, 56: False, 79: False})


def test_a_failing_plugin_fires_and_clears(promtool: Any, killed: Series) -> None:
    promtool.check_alert("EsperPluginFailing", killed, {4: False, FAILS + 3: True, 30: False})


def test_a_run_that_goes_well_raises_no_other_alert(promtool: Any, killed: Series) -> None:
    for alert in (
        "EsperLossNotFinite",
        "EsperRunFailed",
        "EsperSeedUnsafe",
        "EsperGovernorStopped",
        "EsperIsolationViolated",
    ):
        promtool.check_alert(alert, killed, dict.fromkeys(range(1, 80), False))


def test_every_metric_that_is_named_comes_from_a_real_run(killed: Series) -> None:
    texts = [it.expression for it in (*ALERTS, *RECORDINGS, *objective_alerts(), *objective_recordings())]
    texts += [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    named = {name for text in texts for name in re.findall(r"\besper_[a-z0-9_]+", text)}
    emitted = {name.partition("{")[0] for name in killed}
    # Exports fail where there is a destination, which this run has.
    assert named <= emitted, named - emitted


@pytest.fixture(scope="module")
def diverged(tmp_path_factory: pytest.TempPathFactory) -> Series:
    """A run whose learning rate is far too high."""
    folder = tmp_path_factory.mktemp("diverged")
    settings: Mapping[str, str] = {
        "epochs": "6",
        "twin": "epochs",
        "name": "diverged",
        "sinks.names": '["jsonl"]',
        "optimizer.lr": "1e30",
    }
    arguments = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "esper_app.cli", "run", "digits", *arguments]
    environ = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=folder, env=environ, capture_output=True, timeout=280, check=False)
    return replay(folder, [(1, events_of(folder / "runs" / "diverged" / "events.jsonl"))], 30)


@pytest.mark.parametrize(("alert", "clears"), [("EsperLossNotFinite", True), ("EsperRunFailed", False)])
def test_a_run_that_diverges_is_an_alert(promtool: Any, diverged: Series, alert: str, clears: bool) -> None:
    promtool.check_alert(alert, diverged, {0: False, 5: True, 29: not clears})
