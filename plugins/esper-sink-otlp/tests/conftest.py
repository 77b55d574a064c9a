"""A collector that reads OTLP with OpenTelemetry's own protocol buffers, and fails as it is told to."""

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from attrs import define, field
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@define
class Collector:
    """What has come, and how it is answered.

    Attributes:
        status: of the answers.
        statuses: of the next ones, before that.
        headers: of all requests.
        traces, metrics: the requests.
        paths: of all requests.
    """

    status: int = 200
    statuses: list[int] = field(factory=list)
    headers: list[Any] = field(factory=list)
    traces: list[Any] = field(factory=list)
    metrics: list[Any] = field(factory=list)
    paths: list[str] = field(factory=list)
    url: str = ""

    def take(self, path: str, body: bytes) -> int:
        """Read a request, and return the status of the answer."""
        self.paths.append(path)
        status = self.statuses.pop(0) if self.statuses else self.status
        if status == 200:
            if path == "/v1/traces":
                self.traces.append(ExportTraceServiceRequest.FromString(body))
            elif path == "/v1/metrics":
                self.metrics.append(ExportMetricsServiceRequest.FromString(body))
        return status

    def spans(self) -> list[Any]:
        """Every span."""
        return [
            span
            for request in self.traces
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def points(self) -> list[tuple[Any, Any]]:
        """Every metric with each of its points."""
        return [
            (metric, point)
            for request in self.metrics
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.gauge.data_points
        ]


def read(pairs: Any) -> dict[str, Any]:
    """Return attributes as plain data."""
    return {it.key: getattr(it.value, it.value.WhichOneof("value")) for it in pairs}


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Return a running collector."""
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.headers.append(self.headers)
            body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            self.send_response(found.take(self.path, body))
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def attributes_of() -> Any:
    """Return what reads attributes."""
    return read
