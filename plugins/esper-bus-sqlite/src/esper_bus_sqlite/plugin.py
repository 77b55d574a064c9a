"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_oona.kinds import BusSpec

ESPER_API = "2.0"


@hookimpl
def esper_buses() -> Iterable[BusSpec]:
    """Offer one bus."""
    yield BusSpec(
        name="sqlite",
        summary="For the processes of one machine, in one file; needs no server.",
        factory="esper_bus_sqlite.bus:sqlite_bus",
        config="esper_bus_sqlite.bus:SqliteConfig",
        schemes=("sqlite",),
        place="esper_bus_sqlite.bus:bus_file",
    )
