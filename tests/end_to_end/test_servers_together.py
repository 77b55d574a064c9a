"""One run in Prometheus's text file, in an Elasticsearch protocol server and in an OTLP collector: the same numbers."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from elasticsearch import Elasticsearch
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from esper_alerts.catalogue import exported_name
from esper_core.api import Event, EventKind
from esper_runs.metrics import METRICS, MetricReader
from esper_sink_otlp.numbers import metric_name

_SPEC = importlib.util.spec_from_file_location("esper_test_servers", Path(__file__).parents[1] / "servers.py")
servers = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(servers)

pytestmark = pytest.mark.slow

SINKS = ("jsonl", "prometheus", "elasticsearch", "otlp")
CONFIG = """
name = "together"
epochs = 6
twin = "epochs"
host.widths = [4, 8]

[rewards]
terms = [{{ name = "attribution", weight = 5.0 }}]

[sinks]
names = {names}
prometheus.http = false
prometheus.textfile = "together.prom"
elasticsearch.url = "{elasticsearch}"
otlp.endpoint = "{otlp}"
"""

#: Host, metric, labels and step of a number.
Key = tuple[str, str, tuple[str, ...], int]


@frozen
class Told:
    """What each of them was told."""

    run: Path
    documents: list[dict[str, Any]]
    requests: list[ExportMetricsServiceRequest]
    text: str


@pytest.fixture(scope="module")
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    with servers.otlp_collector() as found:
        yield found


@pytest.fixture(scope="module")
def elasticsearch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.elasticsearch_server(tmp_path_factory.mktemp("noida")) as url:
        yield url


@pytest.fixture(scope="module")
def told(collector: Any, elasticsearch: str, tmp_path_factory: pytest.TempPathFactory) -> Told:
    folder = tmp_path_factory.mktemp("together")
    url, requests = collector
    config = CONFIG.format(names=json.dumps(SINKS), elasticsearch=elasticsearch, otlp=url)
    (folder / "run.toml").write_text(config)
    command = [sys.executable, "-m", "esper_app.cli", "run", "digits", "--config", "run.toml"]
    environ = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    with Elasticsearch(elasticsearch) as client:
        client.indices.refresh(index="esper-events")
        hits = client.search(index="esper-events", size=1000)["hits"]["hits"]
    metrics = [ExportMetricsServiceRequest.FromString(body) for path, body in requests if path == "/v1/metrics"]
    return Told(
        folder / "runs" / "together", [it["_source"] for it in hits], metrics, (folder / "together.prom").read_text()
    )


def in_events(told: Told) -> dict[Key, float]:
    reader = MetricReader(json.loads((told.run / "manifest.json").read_text()))
    lines = map(json.loads, (told.run / "events.jsonl").read_text().splitlines())
    events = [Event(**{**line, "kind": EventKind(line["kind"])}) for line in lines]
    points = [point for event in events for point in reader.points(event)]
    return {(it.host, it.metric.name, tuple(sorted(it.labels.values())), it.step): it.value for it in points}


def in_otlp(told: Told) -> dict[Key, float]:
    names = {metric_name(metric): name for name, metric in METRICS.items()}
    found: dict[Key, float] = {}
    for request in told.requests:
        for metric in (it for r in request.resource_metrics for s in r.scope_metrics for it in s.metrics):
            if metric.name.startswith("rl."):  # a second name
                continue
            for point in metric.gauge.data_points:
                facts = {it.key: getattr(it.value, it.value.WhichOneof("value")) for it in point.attributes}
                host, step, _ = (facts.pop(f"esper.{name}") for name in ("host", "epoch", "round"))
                found[host, names[metric.name], tuple(sorted(facts.values())), step] = point.as_double
    return found


def test_every_number_is_the_same_in_all_of_them(told: Told) -> None:
    wanted = in_events(told)
    assert len(wanted) > 200
    assert in_otlp(told) == wanted
    stored = {(it["host"], it["name"], it["step"]): it["value"] for doc in told.documents for it in doc["points"]}
    by_name = {
        (host, METRICS[name].name.format_map(_Labels(labels)), step): value
        for (host, name, labels, step), value in wanted.items()
    }
    assert stored == pytest.approx(by_name, rel=1e-12)  # that server does not read every digit


class _Labels(dict[str, str]):
    """Fills in the one label that the metrics of this run have."""

    def __init__(self, values: tuple[str, ...]) -> None:
        super().__init__()
        self.values_left = list(values)

    def __missing__(self, _: str) -> str:
        return self.values_left.pop(0)


def test_prometheus_has_the_last_of_each(told: Told) -> None:
    last: dict[tuple[str, str, tuple[str, ...]], tuple[int, float]] = {}
    for (host, name, labels, step), value in in_events(told).items():
        key = exported_name(METRICS[name]), host, labels
        last[key] = max(last.get(key, (-1, 0.0)), (step, value))
    found = {}
    for family in text_string_to_metric_families(told.text):
        for it in family.samples:
            labels = tuple(sorted(value for key, value in it.labels.items() if key not in ("run", "host")))
            found[it.name, it.labels.get("host", ""), labels] = it.value
    # A seed that is gone has no series any more.
    gone = {key for key in last if "slots" in key[0] and key not in found}
    assert {key: found[key] for key in last.keys() - gone} == {key: last[key][1] for key in last.keys() - gone}
    assert len(last.keys() - gone) > 40


def rounded(data: Any) -> Any:
    """Plain data with twelve digits."""
    if isinstance(data, dict):
        return {key: rounded(value) for key, value in data.items()}
    if isinstance(data, list):
        return [*map(rounded, data)]
    return f"{data:.12g}" if isinstance(data, float) else data


def test_every_event_is_stored_once_and_none_was_lost(told: Told) -> None:
    result = json.loads((told.run / "result.json").read_text())
    log = [json.loads(line) for line in (told.run / "events.jsonl").read_text().splitlines()]
    assert sorted(it["sequence"] for it in told.documents) == [it["sequence"] for it in log]
    stored = {it["sequence"]: it["data"] for it in told.documents}
    assert all(rounded(stored[it["sequence"]]) == rounded(it["data"]) for it in log)
    assert {name: (it["dropped"], it["errors"]) for name, it in result["sinks"].items()} == dict.fromkeys(SINKS, (0, 0))
