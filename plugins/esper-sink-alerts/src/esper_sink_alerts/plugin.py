"""What this distribution offers: the sink `alerts`."""

from collections.abc import Iterator

from esper_core.hooks import hookimpl
from esper_core.specs import SinkSpec

ESPER_API = "2.0"


@hookimpl
def esper_telemetry_sinks() -> Iterator[SinkSpec]:
    """Offer the sink."""
    yield SinkSpec(
        name="alerts",
        summary="Says while a run goes on that a person should look at it: in the run's events, and through a webhook.",
        factory="esper_sink_alerts.sink:AlertsSink",
        config="esper_sink_alerts.config:AlertsConfig",
    )
