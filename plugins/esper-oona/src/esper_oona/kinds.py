"""The kind of component `bus`."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from attrs import field, frozen, validators

from esper_core.hooks import hookspec
from esper_core.leyline.errors import EsperError
from esper_core.leyline.kinds import PluginKind, Section
from esper_core.leyline.specs import ComponentSpec, ImportString, check_reference

if TYPE_CHECKING:  # listing plugins imports this module
    from pathlib import Path

    from esper_oona.bus import BusServer

ESPER_API = "2.0"


def _schemes(values: Iterable[str]) -> frozenset[str]:
    return frozenset(values)


@frozen(kw_only=True)
class BusSpec(ComponentSpec):
    """Carries messages between processes. ``factory(config) -> Bus``.

    Its options have a field ``url``, the address that `esper_oona.addresses.open_bus` was given.

    Attributes:
        schemes: the schemes of the addresses that lead to it, such as ``redis``.
        server: makes a server of one's own that keeps what survives its death in a folder, a `BusServer`, which
            `esper bus torture` may kill: ``server(folder)``. Made again on the same folder it has the same address as
            long as nobody else listens there. None for a bus without a server.
        place: returns the file in which an embedded bus is, ``place(config)``, so that who only looks makes none. None
            for a bus in no file.
        shared: other processes see what is on it. One that is not is refused where messages are for others.
    """

    kind = "bus"

    schemes: frozenset[str] = field(converter=_schemes)
    server: "ImportString | Callable[[Path], BusServer] | None" = field(
        default=None, validator=validators.optional(check_reference)
    )
    place: "ImportString | Callable[[Any], Path] | None" = field(
        default=None, validator=validators.optional(check_reference)
    )
    shared: bool = True

    def require_shared(self) -> None:
        """Raise EsperError E614 if no other process can see what is on the bus."""
        if not self.shared:
            what = f'the bus "{self.name}" is of one process alone, and no other sees what is on it'
            raise EsperError("E614", what, fix="take sqlite:, which is for the processes of one machine")


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
    section=Section.of_one("bus"),
    suite="esper_oona.testing.conformance:CONFORMANCE",
    provisional="buses of other servers will show what the protocol lacks",
)
