"""What this distribution offers: the sink `otlp`."""

from collections.abc import Iterator

from esper_core.hooks import hookimpl
from esper_core.specs import SinkSpec

ESPER_API = "2.0"


@hookimpl
def esper_telemetry_sinks() -> Iterator[SinkSpec]:
    """Offer the sink."""
    yield SinkSpec(
        name="otlp",
        summary="Sends a run as a trace, and its numbers as metrics, over OTLP.",
        factory="esper_sink_otlp.sink:OtlpSink",
        config="esper_sink_otlp.config:OtlpConfig",
    )
