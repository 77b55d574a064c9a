"""One run with every sink at once: each tells the same numbers, and the training does not notice."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from esper_runs.event_schema import event_schema
from esper_runs.event_search import Condition, EventQuery, opened_events
from esper_runs.run_directory import RunDirectory

pytestmark = pytest.mark.slow

SINKS = ("console", "jsonl", "sqlite", "directory", "tensorboard", "mlflow", "wandb")
EPOCHS = 6
CONFIG = """
name = "together"
epochs = {epochs}
telemetry = "debug"
twin = "epochs"
host.widths = [4, 8]

[rewards]
terms = [{{ name = "stage-potential", weight = 1.0 }}, {{ name = "attribution", weight = 5.0 }}]

[sinks]
names = {names}
mlflow.tracking_uri = {store}
wandb.module = "trackio"
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """MLflow's store, made beforehand: that may take longer than a sink is given."""
    from esper_sink_mlflow.store import open_store

    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"
    open_store(uri)
    return uri


def esper(folder: Path, *arguments: str) -> None:
    environ = os.environ | {"OMP_NUM_THREADS": "1", "TRACKIO_DIR": str(folder / "trackio")}
    command = [sys.executable, "-m", "esper_app.cli", *arguments]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def run(store: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("together")
    (folder / "run.toml").write_text(CONFIG.format(epochs=EPOCHS, names=json.dumps(SINKS), store=json.dumps(store)))
    esper(folder, "run", "digits", "--config", "run.toml")
    return folder / "runs" / "together"


Numbers = dict[tuple[str, str, int], float]


def in_result(run: Path) -> Numbers:
    result = json.loads((run / "result.json").read_text())
    return {
        (host, f"test/{name}", EPOCHS): figures[f"test_{name}"]
        for host, figures in result["hosts"].items()
        for name in ("accuracy", "loss")
    }


def in_sqlite(run: Path) -> Numbers:
    """Straight from the events, without the code that the other sinks take their numbers from."""
    found: Numbers = {}
    with opened_events(RunDirectory(run)) as connection:
        for event in EventQuery(kind="epoch_completed").select(connection):
            data, place = event["data"], (event["host"], event["epoch"])
            for split in ("train", "validation"):
                for name in ("loss", "accuracy"):
                    found[place[0], f"{split}/{name}", place[1]] = data[split][name]
            found[place[0], "parameters", place[1]] = data["parameters"]
            for seed in data["seeds"]:
                found[place[0], f"slots/{seed['slot']}/alpha", place[1]] = seed["alpha"]
                if seed["contribution"]:
                    name = f"slots/{seed['slot']}/contribution"
                    found[place[0], name, place[1]] = seed["contribution"]["mean"]
        for event in EventQuery(kind="reward_computed").select(connection):
            found[event["host"], "reward/total", event["epoch"]] = event["data"]["total"]
            for term, value in event["data"]["terms"].items():
                found[event["host"], f"reward/terms/{term}", event["epoch"]] = value
    return found


def in_tensorboard(run: Path) -> Numbers:
    found: Numbers = {}
    for host in ("grown", "twin"):
        accumulator = EventAccumulator(str(run / "tensorboard" / host), size_guidance={"scalars": 0})
        accumulator.Reload()
        for tag in accumulator.Tags()["scalars"]:
            found |= {(host, tag, it.step): it.value for it in accumulator.Scalars(tag)}
    return found


def in_mlflow(run: Path, store: str) -> Numbers:
    from mlflow.tracking import MlflowClient

    client, identity = MlflowClient(tracking_uri=store), (run / "mlflow-run.txt").read_text().strip()
    found: Numbers = {}
    for key in client.get_run(identity).data.metrics:
        host, _, name = key.partition("/")
        found |= {(host, name, it.step): it.value for it in client.get_metric_history(identity, key)}
    return found


def in_trackio(run: Path) -> Numbers:
    found: Numbers = {}
    with closing(sqlite3.connect(run.parents[1] / "trackio" / "esper.db")) as connection:
        for step, metrics in connection.execute("SELECT step, metrics FROM metrics"):
            for key, value in json.loads(metrics).items():
                host, _, name = key.partition("/")
                found[host, name, step] = value
    return found


def test_every_sink_tells_the_same_numbers(run: Path, store: str) -> None:
    events, result, board, tracked = in_sqlite(run), in_result(run), in_tensorboard(run), in_mlflow(run, store)
    assert len(events) > 2 * 5 * EPOCHS
    assert {host for host, _, _ in events} == {"grown", "twin"}
    assert any("contribution" in name for _, name, _ in events)
    wanted = events | result
    assert {key: tracked[key] for key in wanted} == pytest.approx(wanted, rel=1e-12)
    assert {key: board[key] for key in wanted} == pytest.approx(wanted, rel=1e-6)
    assert tracked.keys() == board.keys()
    assert in_trackio(run) == pytest.approx(tracked, rel=1e-12)


def test_every_event_is_in_every_store_and_none_was_lost(run: Path) -> None:
    result: Any = json.loads((run / "result.json").read_text())
    assert set(result["sinks"]) == set(SINKS)
    delivered = {name: (counts["delivered"], counts["dropped"]) for name, counts in result["sinks"].items()}
    assert len(set(delivered.values())) == 1, result["sinks"]
    log = (run / "events.jsonl").read_text().splitlines()
    assert set(delivered.values()) == {(len(log), 0)}
    (folder,) = (run.parent / "telemetry").iterdir()
    assert (folder / "events.jsonl").read_text().splitlines() == log
    with opened_events(RunDirectory(run)) as connection:
        stored = [*EventQuery().select(connection)]
    assert [it["data"] for it in stored] == [json.loads(line)["data"] for line in log]


def test_every_event_of_a_real_run_is_as_its_schema_says(run: Path) -> None:
    validator = Draft202012Validator(event_schema(closed=True))
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert len({event["kind"] for event in events}) >= 7
    problems = [f"{it['kind']} {e.json_path}: {e.message}"[:200] for it in events for e in validator.iter_errors(it)]
    assert problems == []


def test_the_events_are_found(run: Path) -> None:
    conditions = (Condition.parse("cause=action"),)
    with opened_events(RunDirectory(run)) as connection:
        found = [*EventQuery(kind="seed_transition", text="underf*", conditions=conditions).select(connection)]
    assert found
    assert {event["data"]["target"] for event in found} == {"GERMINATED"}
