"""What this distribution offers: the sink `jsonl`."""

from collections.abc import Iterator

from esper_core.hooks import hookimpl
from esper_core.specs import SinkSpec

ESPER_API = "2.0"


@hookimpl
def esper_telemetry_sinks() -> Iterator[SinkSpec]:
    """Offer the sink."""
    yield SinkSpec(
        name="jsonl",
        summary="Writes every event as one JSON object per line.",
        factory="esper_sink_jsonl.sink:JsonlSink",
        config="esper_sink_jsonl.config:JsonlConfig",
    )
