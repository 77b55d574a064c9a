"""What this distribution offers: the sink `console`."""

from collections.abc import Iterator

from esper_core.hooks import hookimpl
from esper_core.specs import SinkSpec

ESPER_API = "2.0"


@hookimpl
def esper_telemetry_sinks() -> Iterator[SinkSpec]:
    """Offer the sink."""
    yield SinkSpec(
        name="console",
        summary="Shows the run live in a terminal, as plain lines elsewhere, and a table at the end.",
        factory="esper_sink_console.sink:ConsoleSink",
        config="esper_sink_console.config:ConsoleConfig",
    )
