import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from math import inf, isnan, nan
from pathlib import Path
from typing import Any

import pytest

from esper_core.api import EsperError, Event, EventKind
from esper_sink_mlflow.config import MlflowConfig
from esper_sink_mlflow.sink import POINTER, MlflowSink
from esper_sink_mlflow.store import MlflowClient, _remove_left_over, open_store

pytestmark = pytest.mark.slow

CONFIG = {"epochs": 10, "twin": "epochs", "task": {"name": "digits"}, "host": {"widths": [4, 8], "pool": None}}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store for all tests: MLflow takes seconds to make one."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"
    open_store(uri)
    return uri


@pytest.fixture(scope="module")
def client(store: str) -> MlflowClient:
    return MlflowClient(tracking_uri=store)


@pytest.fixture
def opened(tmp_path: Path, store: str) -> Iterator[Callable[..., MlflowSink]]:
    sinks: list[MlflowSink] = []

    def make(name: str = "digits-1", resumed_at: int | None = None, **changes: Any) -> MlflowSink:
        sink = MlflowSink(MlflowConfig(tracking_uri=changes.pop("uri", store), experiment="tests"))
        (tmp_path / "run").mkdir(exist_ok=True)
        manifest = {"directory": str(tmp_path / "run"), "name": name, "started": "2026", "config": CONFIG} | changes
        sinks.append(sink)
        sink.open(manifest | ({} if resumed_at is None else {"resumed_at": resumed_at}))
        return sink

    yield make
    for sink in sinks:
        sink.close()


@pytest.fixture
def identity(tmp_path: Path) -> Callable[[], str]:
    return lambda: (tmp_path / "run" / POINTER).read_text().strip()


def epoch(sequence: int, number: int, host: str = "grown", loss: float = 0.1, slot: str = "block0") -> Event:
    seed = {"slot": slot, "stage": "BLENDING", "alpha": 0.25, "contribution": {"mean": 0.125, "standard_error": 0.5}}
    data = {"validation": {"loss": loss, "accuracy": 0.75}, "parameters": 438, "seeds": [seed]}
    return Event(kind=EventKind.EPOCH_COMPLETED, host=host, epoch=number, data=data, sequence=sequence, time=100.0)


def finished(sequence: int, outcome: str = "completed") -> Event:
    data = {"outcome": outcome, "hosts": {"grown": {"epochs": 2, "test_accuracy": 0.875}}, "loss": nan}
    return Event(kind=EventKind.RUN_FINISHED, data=data, sequence=sequence)


def history(client: MlflowClient, run: str, key: str) -> list[tuple[int, float]]:
    return [(it.step, it.value) for it in client.get_metric_history(run, key)]


def test_a_run_is_recorded_with_options_numbers_and_result(opened: Any, client: MlflowClient, identity: Any) -> None:
    sink = opened()
    sink.emit([epoch(0, 0, "twin", 0.5), epoch(1, 0), epoch(2, 1, "twin", 0.5), epoch(3, 1), finished(4)])
    sink.close()
    run = client.get_run(identity())
    assert (run.info.run_name, run.info.status) == ("digits-1", "FINISHED")
    assert run.data.params == {
        "epochs": "10",
        "twin": "epochs",
        "task.name": "digits",
        "host.widths": "[4, 8]",
        "host.pool": "none",
    }
    assert run.data.tags["esper.outcome"] == "completed"
    assert history(client, identity(), "grown/validation/loss") == [(0, 0.1), (1, 0.1)]
    assert history(client, identity(), "grown/gain") == [(0, 0.4), (1, 0.4)]
    assert history(client, identity(), "grown/slots/block0/contribution_error") == [(0, 0.5), (1, 0.5)]
    assert history(client, identity(), "grown/test/accuracy") == [(2, 0.875)]
    folder = Path(run.info.artifact_uri.removeprefix("file://"))
    assert json.loads((folder / "result.json").read_text())["loss"] == "NaN"
    assert json.loads((folder / "manifest.json").read_text())["name"] == "digits-1"


def test_a_resumed_run_is_the_same_run_and_tells_nothing_twice(opened: Any, client: Any, identity: Any) -> None:
    sink = opened()
    sink.emit([epoch(n, n, loss=nan if n == 1 else inf if n == 2 else 0.1) for n in range(4)])
    sink.close()
    before = identity()
    assert client.get_run(before).info.status == "FAILED"
    sink = opened("renamed", resumed_at=1)
    sink.emit([epoch(n, n, loss=nan if n == 1 else inf if n == 2 else 0.1) for n in range(1, 5)])
    assert client.get_run(before).info.status == "RUNNING"
    sink.emit([finished(5, "interrupted")])
    assert identity() == before
    assert client.get_run(before).info.status == "KILLED"
    losses = history(client, before, "grown/validation/loss")
    assert [step for step, _ in losses] == [0, 1, 2, 3, 4]
    assert isnan(losses[1][1])


@pytest.mark.parametrize("pointer", ["", "../..", "x" * 300, "0" * 32, "other"])
def test_what_a_run_remembers_leads_to_no_other_run(
    opened: Any, client: Any, identity: Any, tmp_path: Path, pointer: str
) -> None:
    sink = opened(started="2025")
    sink.emit([epoch(0, 0)])
    other = identity()
    (tmp_path / "run" / POINTER).write_text(other if pointer == "other" else pointer)
    opened(resumed_at=0).emit([epoch(0, 0, loss=9.0)])
    assert identity() != other
    assert history(client, other, "grown/validation/loss") == [(0, 0.1)]


def test_hostile_and_long_names_are_made_fit(opened: Any, client: Any, identity: Any) -> None:
    name = "../\x1b[1m\0" + "x" * 9000
    sink = opened(name, config={"a": {name: name}})
    sink.emit([epoch(0, 0, host=name, slot=name)])
    run = client.get_run(identity())
    assert all(len(key) <= 250 and "\x1b" not in key and ".." not in key for key in run.data.metrics)
    assert len(run.data.metrics) > 5
    assert len(run.data.params) == 1


def refused(opened: Any, uri: str) -> str:
    with pytest.raises(EsperError) as caught:
        opened(uri=uri)
    assert caught.value.code == "E504"
    return caught.value.why or ""


@pytest.mark.parametrize("content", [b"a text of somebody's", "other"])
def test_a_file_of_something_else_is_refused_and_left_alone(opened: Any, tmp_path: Path, content: Any) -> None:
    path = tmp_path / "other.db"
    if content == "other":
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE precious (id)")
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    assert refused(opened, f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_places_that_cannot_be_are_told_when_the_run_begins(opened: Any, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    assert refused(opened, f"sqlite:///{tmp_path / 'taken' / 'mlflow.db'}")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert "refused" in refused(opened, f"http://127.0.0.1:{unused.getsockname()[1]}")
    assert refused(opened, "carrier-pigeon://home")
    with pytest.raises(EsperError, match="nowhere to write"):
        MlflowSink(MlflowConfig()).open({"directory": None})


def test_usage_data_are_not_sent_unless_the_user_has_said_so() -> None:
    code = """
import sys
import esper_sink_mlflow.sink
from mlflow.telemetry.client import get_telemetry_client
print(get_telemetry_client() is None)
"""
    # Where tests are run for a change, MLflow sends nothing anyway.
    environ = {name: value for name, value in os.environ.items() if name not in _AUTOMATION}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    assert done.stdout.strip() == "True"


_AUTOMATION = {"CI", "PYTEST_CURRENT_TEST", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"}


def test_a_dead_server_is_given_up_before_the_sink_is() -> None:
    timeout, retries = (int(os.environ[f"MLFLOW_HTTP_REQUEST_{name}"]) for name in ("TIMEOUT", "MAX_RETRIES"))
    assert timeout * (1 + retries) < 30


def test_what_a_process_that_was_killed_has_left_is_removed_after_an_hour(tmp_path: Path) -> None:
    old, new, other = (tmp_path / name for name in (".mlflow.db.7-abc", ".mlflow.db.8-abc", ".mlflow.yaml"))
    for it in (old, new, other):
        it.touch()
    for it in (old, other):
        os.utime(it, (1e9, 1e9))
    _remove_left_over(tmp_path / "mlflow.db")
    assert {it.name for it in tmp_path.iterdir()} == {new.name, other.name}
