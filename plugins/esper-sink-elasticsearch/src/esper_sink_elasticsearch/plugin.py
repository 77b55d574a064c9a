"""What this distribution offers: the sink `elasticsearch`."""

from collections.abc import Iterator

from esper_core.hooks import hookimpl
from esper_core.specs import SinkSpec

ESPER_API = "2.0"


@hookimpl
def esper_telemetry_sinks() -> Iterator[SinkSpec]:
    """Offer the sink."""
    yield SinkSpec(
        name="elasticsearch",
        summary="Sends every event to Elasticsearch.",
        factory="esper_sink_elasticsearch.sink:ElasticsearchSink",
        config="esper_sink_elasticsearch.config:ElasticsearchConfig",
    )
