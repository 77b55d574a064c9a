"""What programs of others have of a run: a terminal's lines, trackers, and servers whose answers a test has kept.

Each function is a view, as in `figures`.
"""

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from elasticsearch import Elasticsearch
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from esper_runs.metrics import METRICS
from esper_sink_otlp.numbers import metric_name

Figures = dict[str, str]

#: Host, name of `esper_runs.metrics`, step and value of a number.
Number = tuple[str, str, int, float]

OUTPUT, DOCUMENTS, METRICS_FILE, TRACKIO, MLFLOW = "output.txt", "documents.json", "otlp.json", "trackio", "mlflow.db"


def environment(folder: Path, elasticsearch: str, otlp: str) -> dict[str, str]:
    """Return the variables by which sinks find servers and programs."""
    places = {"ESPER_ES_URL": elasticsearch, "OTEL_EXPORTER_OTLP_ENDPOINT": otlp, "TRACKIO_DIR": str(folder / TRACKIO)}
    return os.environ | places | {"OMP_NUM_THREADS": "1"}


def make_mlflow_store(path: Path) -> None:
    """Make a store for MLflow, which takes longer than a busy machine gives a sink to open."""
    code = "import sys; from esper_sink_mlflow.store import open_store; open_store(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, f"sqlite:///{path}"], check=True, capture_output=True)


def keep_documents(folder: Path, url: str, run: str) -> None:
    """Keep what Elasticsearch has of a run."""
    with Elasticsearch(url) as client:
        client.indices.refresh(index="esper-events")
        found = client.search(index="esper-events", query={"term": {"run": run}}, size=1000)["hits"]["hits"]
    documents = sorted((it["_source"] for it in found), key=lambda it: it["sequence"])
    (folder / DOCUMENTS).write_text(json.dumps(documents))


def keep_metrics(folder: Path, requests: Iterable[tuple[str, bytes]]) -> None:
    """Keep the numbers that a collector has been sent."""
    names = {metric_name(metric): name for name, metric in METRICS.items() if "{" not in name}
    found: list[Number] = []
    for body in (body for path, body in requests if path == "/v1/metrics"):
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            for metric in (it for scope in resource.scope_metrics for it in scope.metrics if it.name in names):
                for point in metric.gauge.data_points:
                    facts = {it.key: getattr(it.value, it.value.WhichOneof("value")) for it in point.attributes}
                    step = int(facts["esper.epoch"])
                    found.append((facts["esper.host"], names[metric.name], step, point.as_double))
    (folder / METRICS_FILE).write_text(json.dumps(found))


def console(folder: Path) -> Figures:
    """The lines of a pipe: what a host and its twin reached in each epoch."""
    found: Figures = {}
    for line in (folder / OUTPUT).read_text().splitlines():
        if (epoch := re.match(r"epoch (\d+)/\d+ \| .*validation", line)) is None:
            continue
        for host, accuracy, nats in re.findall(
            r"(\w+): training .*?, validation (?:([\d.]+ %) \()?(?:loss )?([\d.]+)", line
        ):
            found[f"{host}: validation loss, nats, epoch {epoch[1]}"] = nats
            if accuracy:
                found[f"{host}: validation accuracy, epoch {epoch[1]}"] = accuracy
    return found


def mlflow(run: Path) -> list[Number]:
    """The numbers of the run's run in MLflow."""
    identity = (run / "mlflow-run.txt").read_text().strip()
    with closing(sqlite3.connect(run.parent / MLFLOW)) as connection:
        query = "SELECT key, step, value FROM metrics WHERE run_uuid = ? AND NOT is_nan"
        return [_number(*row) for row in connection.execute(query, (identity,))]


def trackio(run: Path) -> list[Number]:
    """The numbers that trackio, which stands in for Weights & Biases, gives."""
    code = """
import json, sys
from trackio.sqlite_storage import SQLiteStorage
(name,) = [it for it in SQLiteStorage.get_runs("esper") if it.endswith(sys.argv[1])]
print(json.dumps(SQLiteStorage.get_logs("esper", name)))
"""
    identity = (run / "wandb-run.txt").read_text().strip()
    environ = os.environ | {"TRACKIO_DIR": str(run.parents[1] / TRACKIO)}
    command = [sys.executable, "-c", code, identity]
    rows = json.loads(subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout)
    return [_number(key, row["step"], value) for row in rows for key, value in row.items() if "/" in key]


def _number(key: str, step: int, value: Any) -> Number:
    host, _, name = key.partition("/")
    return host, name, step, value
