"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import ExecutorSpec

ESPER_API = "2.0"


@hookimpl
def esper_executors() -> Iterable[ExecutorSpec]:
    """Offer the executor."""
    yield ExecutorSpec(
        name="processes",
        summary="Hosts in worker processes, side by side.",
        factory="esper_executor_processes.executor:ProcessesExecutor",
        config="esper_executor_processes.config:ProcessesConfig",
    )
