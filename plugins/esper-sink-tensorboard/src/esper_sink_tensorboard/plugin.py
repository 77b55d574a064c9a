"""What this distribution offers: the sink `tensorboard`."""

from collections.abc import Iterator

from esper_core.hooks import hookimpl
from esper_core.specs import SinkSpec

ESPER_API = "2.0"


@hookimpl
def esper_telemetry_sinks() -> Iterator[SinkSpec]:
    """Offer the sink."""
    yield SinkSpec(
        name="tensorboard",
        summary="Writes a run's numbers and decisions for TensorBoard.",
        factory="esper_sink_tensorboard.sink:TensorboardSink",
        config="esper_sink_tensorboard.config:TensorboardConfig",
    )
