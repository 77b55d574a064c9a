"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_weatherlight.kinds import ServiceSpec

ESPER_API = "2.0"


@hookimpl
def esper_services() -> Iterable[ServiceSpec]:
    """Offer the services."""
    yield ServiceSpec(
        name="bus-server",
        summary="The server of a bus, such as Redis or NATS, with its data in the state directory.",
        factory="esper_service_standard.bus_server:BusServerService",
        config="esper_service_standard.config:BusServerConfig",
        provides=("bus",),
    )
    yield ServiceSpec(
        name="command",
        summary="Any command that runs until it is told to end.",
        factory="esper_service_standard.commands:CommandService",
        config="esper_service_standard.config:CommandConfig",
        requires=("bus",),
    )
    yield ServiceSpec(
        name="forge",
        summary="Compiles what waits in the forge's queue, and waits for more.",
        factory="esper_service_standard.commands:ForgeService",
        config="esper_service_standard.config:ForgeConfig",
        requires=("bus",),
    )
    yield ServiceSpec(
        name="run",
        summary="A run on the machine's bus, resumed from its newest checkpoint until it is over.",
        factory="esper_service_standard.runs:RunService",
        config="esper_service_standard.config:RunServiceConfig",
        requires=("bus",),
        ends=True,
    )
