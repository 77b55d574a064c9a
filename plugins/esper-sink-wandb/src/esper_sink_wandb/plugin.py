"""What this distribution offers: the sink `wandb`."""

from collections.abc import Iterator

from esper_core.hooks import hookimpl
from esper_core.specs import SinkSpec

ESPER_API = "2.0"


@hookimpl
def esper_telemetry_sinks() -> Iterator[SinkSpec]:
    """Offer the sink."""
    yield SinkSpec(
        name="wandb",
        summary="Sends a run's numbers to Weights & Biases or trackio.",
        factory="esper_sink_wandb.sink:WandbSink",
        config="esper_sink_wandb.config:WandbConfig",
    )
