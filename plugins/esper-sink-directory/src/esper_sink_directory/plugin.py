"""What this distribution offers: the sink `directory`."""

from collections.abc import Iterator

from esper_core.hooks import hookimpl
from esper_core.specs import SinkSpec

ESPER_API = "2.0"


@hookimpl
def esper_telemetry_sinks() -> Iterator[SinkSpec]:
    """Offer the sink."""
    yield SinkSpec(
        name="directory",
        summary="Writes a folder with log, manifest and result for each run.",
        factory="esper_sink_directory.sink:DirectorySink",
        config="esper_sink_directory.config:DirectoryConfig",
    )
