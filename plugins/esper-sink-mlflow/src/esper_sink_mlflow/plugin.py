"""What this distribution offers: the sink `mlflow`."""

from collections.abc import Iterator

from esper_core.hooks import hookimpl
from esper_core.specs import SinkSpec

ESPER_API = "2.0"


@hookimpl
def esper_telemetry_sinks() -> Iterator[SinkSpec]:
    """Offer the sink."""
    yield SinkSpec(
        name="mlflow",
        summary="Records a run's numbers, options and result in MLflow.",
        factory="esper_sink_mlflow.sink:MlflowSink",
        config="esper_sink_mlflow.config:MlflowConfig",
    )
