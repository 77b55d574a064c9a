"""What this distribution offers: the sink `prometheus`."""

from collections.abc import Iterator

from esper_core.hooks import hookimpl
from esper_core.specs import SinkSpec

ESPER_API = "2.0"


@hookimpl
def esper_telemetry_sinks() -> Iterator[SinkSpec]:
    """Offer the sink."""
    yield SinkSpec(
        name="prometheus",
        summary="Offers a run's numbers to Prometheus: over HTTP, as a text file, through a pushgateway.",
        factory="esper_sink_prometheus.sink:PrometheusSink",
        config="esper_sink_prometheus.config:PrometheusConfig",
    )
