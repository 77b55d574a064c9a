"""What this distribution offers: the sink `sqlite`."""

from collections.abc import Iterator

from esper_core.hooks import hookimpl
from esper_core.specs import SinkSpec

ESPER_API = "2.0"


@hookimpl
def esper_telemetry_sinks() -> Iterator[SinkSpec]:
    """Offer the sink."""
    yield SinkSpec(
        name="sqlite",
        summary="Writes every event to a SQLite file that can be searched.",
        factory="esper_sink_sqlite.sink:SqliteSink",
        config="esper_sink_sqlite.config:SqliteConfig",
    )
