"""A run that diverges, seen by a real Prometheus, a real Alertmanager and a webhook behind it, and told by Esper."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Condition, Thread
from typing import Any

import pytest

from esper_sink_alerts.notification import fingerprint
from esper_sink_prometheus.alertmanager import alertmanager_file
from esper_sink_prometheus.rules import rules_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

#: The run is over when somebody has seen how it ended.
PLUGIN = """
from pathlib import Path
from threading import Event

from esper_core.hooks import hookimpl

ESPER_API = "2.0"


@hookimpl
def esper_run_finish(result):
    for _ in range(2400):
        if Path("seen").exists():
            return
        Event().wait(0.1)
"""

SERVER = """
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
alerting:
  alertmanagers:
    - static_configs:
        - targets: ["$address"]
scrape_configs:
  - job_name: esper
    file_sd_configs:
      - files: ["runs/prometheus-targets/*.json"]
        refresh_interval: 1s
"""


class Receiver:
    """Takes what is posted to it."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, dict[str, Any]]] = []
        self.changed = Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with receiver.changed:
                    receiver.bodies.append((self.path, body))
                    receiver.changed.notify_all()
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}{path}"

    def alerts(self, path: str, status: str) -> dict[str, dict[str, Any]]:
        """The alerts by name that were posted to a path, with this status."""
        bodies = [body for where, body in self.bodies if where == path]
        return {it["labels"]["alertname"]: it for body in bodies for it in body["alerts"] if it["status"] == status}

    def wait(self, found: Callable[[], Any], what: str, seconds: float = 240) -> None:
        with self.changed:
            assert self.changed.wait_for(found, seconds), f"not within {seconds:g} s: {what}; {self.bodies}"


def address_in(log: Path) -> str:
    """Where a server of Prometheus's family listens, as soon as it says so; it has taken a port that was free."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        for line in log.read_text().splitlines():
            if 'msg="Listening on"' in line:
                return line.partition("address=")[2]
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def amtool(amtool_program: str, folder: Path) -> str:
    command = [amtool_program, "check-config", "alertmanager.yml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


FAST = (("group_wait: 10s", "group_wait: 0s"), ("group_interval: 1m", "group_interval: 1s"))

ALERTS = {"EsperLossNotFinite", "EsperGovernorStopped", "EsperRunFailed"}


@pytest.fixture(scope="module")
def seen(
    prometheus_program: str, alertmanager_program: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Receiver]]:
    """The run's folder, and what was posted: by Alertmanager and by Esper itself."""
    folder = tmp_path_factory.mktemp("alertmanager")
    receiver = Receiver()
    configuration = alertmanager_file(receiver.address("/alertmanager"))
    for usual, fast in FAST:
        assert usual in configuration
        configuration = configuration.replace(usual, fast)
    (folder / "alertmanager.yml").write_text(configuration)
    (folder / "rules.yml").write_text(rules_file())
    (folder / "drill.py").write_text(PLUGIN)
    run = "esper_app.cli run digits --plugin-path drill.py --set epochs=6 --set name=diverged --set optimizer.lr=1e30"
    webhook = f'sinks.alerts.webhook="{receiver.address("/esper")}"'
    sinks = 'sinks.names=["jsonl", "prometheus", "alerts"]'
    commands = [
        [
            alertmanager_program,
            "--config.file=alertmanager.yml",
            "--storage.path=am",
            "--web.listen-address=127.0.0.1:0",
            "--cluster.listen-address=",
        ],
        [
            prometheus_program,
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=tsdb",
            "--web.listen-address=127.0.0.1:0",
        ],
        [sys.executable, "-m", *run.split(), "--set", sinks, "--set", webhook],
    ]
    environ = os.environ | {"OMP_NUM_THREADS": "1"}
    processes = []
    try:
        for number, command in enumerate(commands):
            with (folder / f"{number}.log").open("wb") as log:
                processes.append(subprocess.Popen(command, cwd=folder, env=environ, stdout=log, stderr=log))
            if number == 0:
                (folder / "prometheus.yml").write_text(SERVER.replace("$address", address_in(folder / "0.log")))
        receiver.wait(lambda: receiver.alerts("/alertmanager", "firing").keys() >= ALERTS, "the alerts fire")
        (folder / "seen").touch()
        receiver.wait(lambda: receiver.alerts("/alertmanager", "resolved").keys() >= ALERTS, "the alerts clear")
        assert processes[2].wait(240) == 6, (folder / "2.log").read_text()  # it went wrong
        yield folder, receiver
    finally:
        (folder / "seen").touch()
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        receiver.server.shutdown()
        receiver.server.server_close()


def test_a_run_that_diverges_reaches_a_webhook_through_alertmanager_and_clears(seen: tuple[Path, Receiver]) -> None:
    _, receiver = seen
    for status in ("firing", "resolved"):
        found = receiver.alerts("/alertmanager", status)["EsperLossNotFinite"]
        assert found["labels"]["run"] == "diverged"
        assert found["labels"]["severity"] == "page"
        assert "a loss is no finite number" in found["annotations"]["summary"]


def test_esper_posts_the_same_alerts_itself(seen: tuple[Path, Receiver]) -> None:
    """In Alertmanager's own format: what reads one reads the other."""
    _, receiver = seen
    theirs, ours = (receiver.alerts(path, "firing") for path in ("/alertmanager", "/esper"))
    assert ours.keys() == theirs.keys()
    for name, alert in theirs.items():
        mine = ours[name]
        assert mine.keys() == alert.keys()
        own = {key: value for key, value in alert["labels"].items() if key not in ("instance", "job")}
        assert mine["labels"].keys() == own.keys()
        assert mine["annotations"].items() >= {"description": alert["annotations"]["description"]}.items()
        assert fingerprint(alert["labels"]) == alert["fingerprint"]
    bodies = dict(receiver.bodies)
    assert bodies["/esper"].keys() == bodies["/alertmanager"].keys()
    for key in ("version", "status", "groupLabels"):
        assert type(bodies["/esper"][key]) is type(bodies["/alertmanager"][key])


def test_an_alert_is_an_event_of_the_run(seen: tuple[Path, Receiver]) -> None:
    folder, _ = seen
    lines = [json.loads(line) for line in (folder / "runs/diverged/events.jsonl").read_text().splitlines()]
    assert {it["data"]["name"] for it in lines if it["kind"] == "alert"} == ALERTS
    assert [it["sequence"] for it in lines] == list(range(len(lines)))


def test_amtool_accepts_the_configuration(amtool_program: str, tmp_path: Path) -> None:
    (tmp_path / "alertmanager.yml").write_text(alertmanager_file('https://hooks.example/services/"T0"?a=b#c: d'))
    assert "SUCCESS" in amtool(amtool_program, tmp_path)


def test_amtool_refuses_a_configuration_that_is_none(amtool_program: str, tmp_path: Path) -> None:
    (tmp_path / "alertmanager.yml").write_text(
        alertmanager_file("https://hooks.example").replace("receiver: e", "x: e")
    )
    with pytest.raises(AssertionError):
        amtool(amtool_program, tmp_path)
