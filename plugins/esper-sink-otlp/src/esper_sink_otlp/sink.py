"""Send a run over OTLP: its trace, and its numbers."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from esper_core.api import EsperError, Event
from esper_runs.metrics import MetricReader, Point
from esper_sink_otlp.attributes import text
from esper_sink_otlp.config import OtlpConfig
from esper_sink_otlp.numbers import metrics_data
from esper_sink_otlp.sender import Sender
from esper_sink_otlp.spans import Spans, nanoseconds

#: OpenTelemetry's own environment variable, and what it stands for if it is not set.
ENDPOINT, _DEFAULT = "OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318"

_SCOPE = InstrumentationScope("esper")


class OtlpSink:
    """A sink that sends spans and numbers with every batch of events that has some.

    Args:
        config: where to.
        clock: seconds since 1970.
    """

    def __init__(self, config: OtlpConfig, clock: Callable[[], float] = time.time) -> None:
        self._config = config
        self._clock = clock
        self._spans: Spans | None = None
        self._reader = MetricReader({})
        self._resource = Resource({})
        self._started = 0
        self._traces: Sender | None = None
        self._metrics: Sender | None = None

    def open(self, manifest: Mapping[str, Any]) -> None:
        """Begin the trace, and see that the collector takes what is sent.

        Raises:
            EsperError: E504 if there is nothing to send, or nothing that takes it.
        """
        endpoint = self._endpoint()
        timeout = self._config.timeout
        self._resource = _resource(manifest, self._config.service)
        self._started = nanoseconds(self._clock())
        self._reader = MetricReader(manifest)
        self._spans = Spans(manifest, self._resource, self._started)
        if self._config.traces:
            self._traces = Sender(f"{endpoint}/v1/traces", "TRACES", timeout)
        if self._config.metrics:
            self._metrics = Sender(f"{endpoint}/v1/metrics", "METRICS", timeout)
        try:
            # With nothing in it: that shows whether it is taken.
            self._send_spans([])
            self._send_points([])
        except RuntimeError as error:
            self._release()
            shown = f"{urlsplit(endpoint).scheme}://{urlsplit(endpoint).netloc.rpartition('@')[2]}"
            what = f'the sink "otlp" cannot send to "{shown}"'
            fix = "set sinks.otlp.endpoint to a collector that takes OTLP over HTTP"
            raise EsperError("E504", what, why=str(error), fix=fix) from error

    def emit(self, events: Sequence[Event]) -> None:
        """Send the spans that end with these events, and their numbers.

        Raises:
            RuntimeError: before `open` and after `close`; and if the collector does not take them.
        """
        if self._spans is None:
            raise RuntimeError('the sink "otlp" is not open')
        points: list[tuple[int, Point]] = []
        for event in events:
            self._spans.take(event)
            points += [(nanoseconds(event.time), point) for point in self._reader.points(event)]
        self._send_all(points)

    def checkpoint(self, epoch: int, began: float, ended: float) -> None:
        """Send the span of a checkpoint behind an epoch, from 0; the times are in seconds since 1970.

        Raises:
            RuntimeError: if the collector does not take it.
        """
        if self._spans is not None:
            self._spans.checkpoint(epoch, nanoseconds(began), nanoseconds(ended))
            self._send_all([])

    def flush(self) -> None:
        """Do nothing: what was emitted is sent."""

    def close(self) -> None:
        """End the run's span if nothing has ended it, and send it; a second call does nothing.

        Raises:
            RuntimeError: if the collector does not take it.
        """
        if self._spans is None:
            return
        self._spans.end(nanoseconds(self._clock()))
        try:
            self._send_all([])
        finally:
            self._release()

    def _endpoint(self) -> str:
        if not (self._config.traces or self._config.metrics):
            what = 'the sink "otlp" sends nothing'
            raise EsperError("E504", what, fix="set sinks.otlp.traces or sinks.otlp.metrics to true")
        endpoint = (self._config.endpoint or os.environ.get(ENDPOINT) or _DEFAULT).rstrip("/")
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            what = f'the sink "otlp" cannot send to "{endpoint}"'
            raise EsperError("E504", what, why="it is no http or https address", fix="set sinks.otlp.endpoint")
        if self._config.endpoint is not None and parts.password is not None:
            what = "the address of the collector holds a password, which would be written into the run's manifest"
            raise EsperError("E504", what, fix=f"set {ENDPOINT} or OTEL_EXPORTER_OTLP_HEADERS in the environment")
        return endpoint

    def _send_all(self, points: list[tuple[int, Point]]) -> None:
        """Send both; where one fails, the other is sent all the same."""
        assert self._spans is not None
        spans, failed = self._spans.taken(), []
        try:
            if spans:
                self._send_spans(spans)
        except RuntimeError as error:
            failed.append(str(error))
        try:
            if points:
                self._send_points(points)
        except RuntimeError as error:
            failed.append(str(error))
        if failed:
            raise RuntimeError("; ".join(failed))

    def _send_spans(self, spans: Sequence[ReadableSpan]) -> None:
        _send(self._traces, "traces", lambda: encode_spans(spans).SerializeToString())

    def _send_points(self, points: Sequence[tuple[int, Point]]) -> None:
        data = metrics_data(points, self._resource, _SCOPE, self._started)
        _send(self._metrics, "metrics", lambda: encode_metrics(data).SerializeToString())

    def _release(self) -> None:
        self._spans = self._traces = self._metrics = None


def _send(sender: Sender | None, what: str, data: Callable[[], bytes]) -> None:
    if sender is not None:
        try:
            sender.send(data())
        except OSError as error:
            raise RuntimeError(f"the collector does not take {what}: {error}"[:500]) from error


def _resource(manifest: Mapping[str, Any], service: str) -> Resource:
    """The run; names under ``rl.`` are those of a proposal, and may change."""
    config = manifest.get("config") or {}
    name = text(str(manifest.get("name")))
    found = {
        "service.name": text(service),
        "service.instance.id": name,
        "esper.run": name,
        "esper.started": text(str(manifest.get("started"))),
        "esper.seed": text(str(manifest.get("seed"))),
        "esper.task": text(str((config.get("task") or {}).get("name") or "")),
        "rl.system": "esper",
        "rl.run.id": name,
        "rl.algorithm": text(str((config.get("policy") or {}).get("name") or "")),
    }
    return Resource({key: value for key, value in found.items() if value})
