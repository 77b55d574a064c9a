"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_weatherlight.kinds import ServiceSpec

ESPER_API = "2.0"


@hookimpl
def esper_services() -> Iterable[ServiceSpec]:
    """Offer the service."""
    yield ServiceSpec(
        name="nissa",
        summary="Everything on the bus as metrics, alerts and objectives, and into telemetry sinks.",
        factory="esper_service_nissa.service:NissaService",
        config="esper_service_nissa.config:NissaConfig",
        requires=("bus",),
    )
