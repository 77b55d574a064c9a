"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_oona.kinds import BusSpec

ESPER_API = "2.0"


@hookimpl
def esper_buses() -> Iterable[BusSpec]:
    """Offer one bus."""
    yield BusSpec(
        name="nats",
        summary="For processes of several machines, through a server of NATS with JetStream.",
        factory="esper_bus_nats.bus:NatsBus",
        config="esper_bus_nats.config:NatsConfig",
        server="esper_bus_nats.server:NatsServer",
        schemes=("nats", "tls"),
    )
