"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import ExecutorSpec

ESPER_API = "2.0"


@hookimpl
def esper_executors() -> Iterable[ExecutorSpec]:
    """Offer the executor."""
    yield ExecutorSpec(
        name="serial",
        summary="One host after the other, in the process of the run.",
        factory="esper_executor_serial.executor:SerialExecutor",
    )
