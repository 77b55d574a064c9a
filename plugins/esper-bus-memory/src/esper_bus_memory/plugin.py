"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_oona.kinds import BusSpec

ESPER_API = "2.0"


@hookimpl
def esper_buses() -> Iterable[BusSpec]:
    """Offer one bus."""
    yield BusSpec(
        name="memory",
        summary="For the threads of one process; nothing outlives it.",
        factory="esper_bus_memory.bus:memory_bus",
        config="esper_bus_memory.bus:MemoryConfig",
        schemes=("memory",),
        shared=False,
    )
