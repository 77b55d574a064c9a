"""The kind of component `service`."""

from collections.abc import Iterable

from attrs import field, frozen

from esper_core.hooks import hookspec
from esper_core.leyline.kinds import PluginKind
from esper_core.leyline.specs import ComponentSpec

ESPER_API = "2.0"


def _roles(values: Iterable[str]) -> frozenset[str]:
    return frozenset(values)


@frozen(kw_only=True)
class ServiceSpec(ComponentSpec):
    """A process that is kept running beside others. ``factory(config) -> Service``.

    Its options have no field that every service of a file has: ``service``, ``requires``, ``restarts``.

    Attributes:
        requires: roles that must be ready before it starts, such as ``bus``; where no service of the machine provides
            one, nothing is waited for.
        provides: roles that it has. What provides ``bus`` is an `esper_weatherlight.service.BusService`.
        ends: it comes to an end by itself, as a run does.
    """

    kind = "service"

    requires: frozenset[str] = field(default=frozenset(), converter=_roles)
    provides: frozenset[str] = field(default=frozenset(), converter=_roles)
    ends: bool = False


class ServiceHooks:
    """The hook by which plugins offer services."""

    @hookspec
    def esper_services(self) -> Iterable[ServiceSpec]:
        """Offer services."""
        raise NotImplementedError


SERVICE = PluginKind(
    spec=ServiceSpec,
    hook="esper_services",
    specification=ServiceHooks,
    family="service",
    protocol="esper_weatherlight.api:Service",
    suite="esper_weatherlight.testing.conformance:CONFORMANCE",
    provisional="services on several machines will show what the protocol lacks",
)
