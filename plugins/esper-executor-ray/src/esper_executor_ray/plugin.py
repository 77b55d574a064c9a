"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import ExecutorSpec

ESPER_API = "2.0"


@hookimpl
def esper_executors() -> Iterable[ExecutorSpec]:
    """Offer the executor."""
    yield ExecutorSpec(
        name="ray",
        summary="Hosts in Ray actors, on one machine or a cluster.",
        factory="esper_executor_ray.executor:RayExecutor",
        config="esper_executor_ray.config:RayConfig",
    )
