"""The server of a bus as a service."""

from pkgutil import resolve_name

from esper_core.api import EsperError, did_you_mean
from esper_oona.api import BusServer, open_bus
from esper_oona.kinds import BusSpec
from esper_service_standard.config import BusServerConfig
from esper_weatherlight.api import Health, HealthStatus, Launch, Place, ProcessService

#: What a socket's path may have, in bytes.
_LONGEST = 107


class BusServerService(ProcessService):
    """Runs the server that a bus's plugin offers, with its data in the service's folder.

    Args:
        config: which.
    """

    def __init__(self, config: BusServerConfig) -> None:
        self._scheme = config.scheme

    def address(self, place: Place) -> str:
        """Return the bus's address.

        Raises:
            EsperError: E204 if no selected plugin has such a bus, E202 if it has no server, E190 if the program is not
                installed.
        """
        return self._server(place).url

    def start(self, place: Place) -> Launch:
        """Start it with what it has kept."""
        return Launch(command=self._server(place).command)

    def ready(self, place: Place) -> bool:
        """It is ready once it answers."""
        try:
            open_bus(self._server(place).url, place.registry).close()
        except EsperError as error:
            if error.code == "E611":
                return False
            raise
        return True

    def health(self, place: Place) -> Health:
        """Say how much waits, or that nobody answers."""
        try:
            bus = open_bus(self._server(place).url, place.registry)
            try:
                waiting = sum(it.depth for it in bus.backlogs())
            finally:
                bus.close()
        except EsperError as error:
            if error.code != "E611":
                raise
            return Health(status=HealthStatus.UNHEALTHY, summary=f"{error.what}: {error.why}")
        return Health(summary=f"{waiting} messages are not finished", figures={"unfinished": float(waiting)})

    def _server(self, place: Place) -> BusServer:
        specs = [it.spec for it in place.registry[BusSpec.kind]]
        found = {scheme: it for it in specs if isinstance(it, BusSpec) for scheme in it.schemes}
        if self._scheme not in found:
            raise EsperError(
                "E204",
                f'no selected plugin has a bus at "{self._scheme}:"',
                where=f"services.{place.name}.scheme",
                fix=did_you_mean(self._scheme, found),
            )
        spec = found[self._scheme]
        if spec.server is None:
            what = f'the bus "{spec.name}" has no server to run'
            raise EsperError("E202", what, where=f"services.{place.name}.scheme", fix="redis and nats have one")
        if len(str(place.folder).encode()) > _LONGEST - len("/redis.sock"):
            why = f"{place.folder} is longer than the path of a socket may be"
            raise EsperError("E202", "the state directory's path is too long", why=why, fix="give a shorter --state")
        make = resolve_name(spec.server) if isinstance(spec.server, str) else spec.server
        server: BusServer = make(place.folder)
        return server
