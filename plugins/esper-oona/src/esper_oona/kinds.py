"""The kind of component `bus`."""

from collections.abc import Iterable

from attrs import field, frozen

from esper_core.hooks import hookspec
from esper_core.leyline.kinds import PluginKind
from esper_core.specs import ComponentSpec


@frozen(kw_only=True)
class BusSpec(ComponentSpec):
    """Carries messages between processes. ``factory(config) -> Bus``.

    Its options have a field ``url``, the address that `esper_oona.addresses.open_bus` was given.

    Attributes:
        schemes: the schemes of the addresses that lead to it, such as ``redis``.
    """

    kind = "bus"

    schemes: frozenset[str] = field(converter=frozenset)


class BusHooks:
    """The hook by which plugins offer buses."""

    @hookspec
    def esper_buses(self) -> Iterable[BusSpec]:
        """Offer buses."""
        raise NotImplementedError


BUS = PluginKind(
    spec=BusSpec,
    hook="esper_buses",
    specification=BusHooks,
    family="bus",
    protocol="esper_oona.api:Bus",
    suite="esper_oona.conformance:CONFORMANCE",
    provisional="no run uses it yet",
)
