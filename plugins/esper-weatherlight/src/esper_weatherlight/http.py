"""The supervisor over HTTP: how it is, for people, probes and Prometheus. There is nothing to change here."""

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from esper_core.leyline.errors import EsperError
from esper_leyline_proto.telemetry import HealthStatus
from esper_weatherlight.machine import Http
from esper_weatherlight.states import State

Status = Callable[[], Mapping[str, Any]]
Answer = Callable[[str], tuple[int, str, bytes]]

#: Seconds for which a connection may say nothing.
_IDLE_SECONDS = 10.0


class HttpServer:
    """Answers GET requests in threads of its own.

    Args:
        http: where it listens.
        answer: returns the status, the type of content and the content for a path.

    Attributes:
        url: where it answers.

    Raises:
        EsperError: E202 if it cannot listen there.
    """

    def __init__(self, http: Http, answer: Answer) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = _IDLE_SECONDS

            def do_GET(self) -> None:
                code, kind, body = answer(self.path.partition("?")[0])
                self.send_response(code)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.send_header("cache-control", "no-store")
                self.send_header("x-content-type-options", "nosniff")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        try:
            self._server = _server_of(http.address)((http.address, http.port), Handler)
        except (OSError, OverflowError) as error:
            what = f"{http.address}:{http.port} cannot be listened on"
            why = getattr(error, "strerror", None) or str(error)
            raise EsperError("E202", what, where="http", why=why, fix="give port 0, or one that is free") from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="esper-http", daemon=True)
        self._thread.start()
        # Who listens everywhere is asked here.
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(http.address, http.address)
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self._server.server_port}"

    def close(self) -> None:
        """Answer nobody any more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server6(ThreadingHTTPServer):
    address_family = socket.AF_INET6


def _server_of(address: str) -> type[ThreadingHTTPServer]:
    return _Server6 if ":" in address else ThreadingHTTPServer


def status_server(http: Http, status: Status) -> HttpServer:
    """Return a server that says how everything is.

    ``/status`` is everything as JSON; ``/health`` (503 if a service has failed) and ``/ready`` (503 until it is) are
    the same document for probes; ``/metrics`` are the figures for Prometheus.

    Args:
        http: where.
        status: how everything is, as `Supervisor.status`.

    Raises:
        EsperError: E202 if it cannot listen there.
    """
    registry = CollectorRegistry()
    registry.register(StatusCollector(status))

    def answer(path: str) -> tuple[int, str, bytes]:
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest(registry)
        if path in ("/status", "/health", "/ready"):
            found = status()
            bad = {"/status": False, "/health": found["health"] == "critical", "/ready": not found["ready"]}[path]
            return 503 if bad else 200, "application/json", json.dumps(found).encode()
        return 404, "text/plain", b"Here are /status, /health, /ready and /metrics.\n"

    return HttpServer(http, answer)


class StatusCollector(Collector):
    """The status as metrics.

    Args:
        status: how everything is.
    """

    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are at one moment."""
        found = self._status()
        ready = GaugeMetricFamily("esper_machine_ready", "1 if every service is ready or done.")
        ready.add_metric((), float(found["ready"]))
        up = GaugeMetricFamily("esper_machine_up_seconds", "For how long the supervisor is up.")
        up.add_metric((), found["up_seconds"])
        state = GaugeMetricFamily("esper_service_state", "1 for the state of the service.", labels=("service", "state"))
        health = GaugeMetricFamily(
            "esper_service_health", "1 healthy, 2 degraded, 3 unhealthy, 4 critical.", labels=("service",)
        )
        restarts = CounterMetricFamily(
            "esper_service_restarts", "How often the service was started again.", labels=("service",)
        )
        figures = GaugeMetricFamily(
            "esper_service_figure", "What the service says of itself.", labels=("service", "name")
        )
        for it in found["services"]:
            for one in State:
                state.add_metric((it["name"], str(one)), float(it["state"] == one))
            health.add_metric((it["name"],), float(HealthStatus[it["health"].upper()]))
            restarts.add_metric((it["name"],), it["restarts"])
            for name, value in it["figures"].items():
                figures.add_metric((it["name"], name), value)
        heard = CounterMetricFamily("esper_machine_emergencies", "Emergency signals that the supervisor has heard.")
        heard.add_metric((), found["emergencies"]["count"])
        yield from (ready, up, state, health, restarts, figures, heard)

    def describe(self) -> Iterator[Metric]:
        """Yield nothing: the names are not asked for in advance."""
        return iter(())
