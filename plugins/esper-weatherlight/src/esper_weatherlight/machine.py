"""The services of one machine, as a TOML file names them."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import asdict, evolve, field, frozen, validators

from esper_core.leyline.errors import EsperError, did_you_mean
from esper_core.leyline.specs import check_name
from esper_core.leyline.structure import structure
from esper_core.plugins.records import Registered
from esper_core.plugins.registry import Registry
from esper_core.plugins.resolve import build_config, resolve
from esper_runs.reading import read_regular, why_unreadable
from esper_weatherlight.kinds import ServiceSpec
from esper_weatherlight.service import Service

#: What every table of a service may have; everything else in it are options of the service.
OF_EVERY_SERVICE = ("service", "requires", "restarts", "ready_seconds", "stop_seconds")

_positive = validators.gt(0.0)


@frozen(kw_only=True)
class Restarts:
    """How a service is started again after it has ended.

    Attributes:
        budget: so many restarts within `window_seconds`; one more, and the service has failed.
        window_seconds: for how long a restart counts.
        first_seconds: the pause before the first restart; it doubles with each one.
        longest_seconds: up to this.
        stable_seconds: a service that was ready for so long begins with the first pause again.
    """

    budget: int = field(default=5, validator=validators.ge(0))
    window_seconds: float = field(default=600.0, validator=_positive)
    first_seconds: float = field(default=1.0, validator=_positive)
    longest_seconds: float = field(default=30.0, validator=_positive)
    stable_seconds: float = field(default=60.0, validator=_positive)


@frozen(kw_only=True)
class Http:
    """Where the supervisor answers.

    Attributes:
        address: the address that it listens on. Everybody who reaches it can read how the services are.
        port: its port; 0: any that is free.
    """

    address: str = "127.0.0.1"
    port: int = field(default=0, validator=[validators.ge(0), validators.le(65535)])


@frozen(kw_only=True)
class MachineSettings:
    """What is not about one service.

    Attributes:
        bus: the address of the bus, such as ``sqlite:`` or ``redis://localhost``. None: that of the service which
            provides one, else ``sqlite:``.
        drain_seconds: when all services are stopped, what still runs after so long is killed.
        pause_seconds: for so long an emergency below HALT pauses what depends on its sender.
        http: where the supervisor answers.
        restarts: how services are started again.
    """

    bus: str | None = None
    drain_seconds: float = field(default=30.0, validator=_positive)
    pause_seconds: float = field(default=30.0, validator=validators.ge(0.0))
    http: Http = field(factory=Http)
    restarts: Restarts = field(factory=Restarts)


@frozen(kw_only=True)
class ServiceTable:
    """What a file says of one service.

    Attributes:
        name: of the service on its machine.
        service: the component: its name, or DISTRIBUTION/NAME.
        requires: names of services that must be ready before it starts, and that pause it when they fail.
        restarts: as those of the machine.
        ready_seconds: a service that is not ready so long after its start is killed, and started again.
        stop_seconds: a service that was asked to end, and has not, is killed after so long.
        options: of the component.
    """

    name: str = field(validator=check_name)
    service: str
    requires: tuple[str, ...] = ()
    restarts: Restarts
    ready_seconds: float = field(default=120.0, validator=_positive)
    stop_seconds: float = field(default=20.0, validator=_positive)
    options: Mapping[str, Any] = field(factory=dict)


@frozen(kw_only=True)
class Member:
    """A service of a machine, built.

    Attributes:
        table: what the file says of it.
        spec: the component.
        service: it.
        requires: names of all services that must be ready before it starts, by name and by role.
    """

    table: ServiceTable
    spec: ServiceSpec
    service: Service
    requires: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """Its name."""
        return self.table.name


@frozen(kw_only=True)
class Machine:
    """All services of a machine.

    Attributes:
        settings: what is not about one service.
        members: in an order in which each comes after those that it requires.
    """

    settings: MachineSettings
    members: tuple[Member, ...]


def machine_file(path: Path) -> dict[str, Any]:
    """Return what a file says, as plain data. Raises EsperError E203 if it cannot be read, or is not TOML."""
    try:
        return tomllib.loads(read_regular(path).decode("utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        raise EsperError("E203", "the services' file is not TOML", where=str(path), why=str(error)) from error
    except (OSError, ValueError, RecursionError) as error:
        fix = "write one with: esper services init"
        raise EsperError("E203", f'"{path}" cannot be read', why=why_unreadable(error), fix=fix) from error


def read_machine(data: Mapping[str, Any], registry: Registry, *, source: str | None = None) -> Machine:
    """Build the services that plain data name.

    Args:
        data: as a file holds them.
        registry: the loaded plugins.
        source: the file, for messages.

    Raises:
        EsperError: E201 and E202 for what is wrong in the data, E204 for a service that no selected plugin offers, and
            E202 if services require what is not there, or each other.
    """
    rest = {name: value for name, value in data.items() if name != "services"}
    settings: MachineSettings = structure(MachineSettings, rest, source=source)
    tables = data.get("services", {})
    if not isinstance(tables, Mapping) or not all(isinstance(it, Mapping) for it in tables.values()):
        raise EsperError("E202", "services must be tables: [services.NAME]", where=source)
    members = [_member(name, table, settings, registry, source) for name, table in tables.items()]
    return Machine(settings=settings, members=_ordered(_with_roles(members), source))


def _member(
    name: str, table: Mapping[str, Any], settings: MachineSettings, registry: Registry, source: str | None
) -> Member:
    path = f"services.{name}"
    own = {key: value for key, value in table.items() if key in OF_EVERY_SERVICE}
    own = {"name": name, "service": name, **own}
    # What is left out of a service's restarts is as for all.
    if isinstance(restarts := own.get("restarts", {}), Mapping):
        own["restarts"] = asdict(settings.restarts) | dict(restarts)
    options = {key: value for key, value in table.items() if key not in OF_EVERY_SERVICE}
    read: ServiceTable = structure(ServiceTable, {**own, "options": options}, path=path, source=source)
    found: Registered = registry.get(ServiceSpec.kind, read.service, where=source or f"{path}.service")
    assert isinstance(found.spec, ServiceSpec)
    config = build_config(found, options, path=path, source=source)
    return Member(table=read, spec=found.spec, service=resolve(found)(config))


def _with_roles(members: Iterable[Member]) -> list[Member]:
    found = [*members]

    def providing(roles: frozenset[str]) -> set[str]:
        return {it.name for it in found if it.spec.provides & roles}

    return [evolve(it, requires=frozenset(it.table.requires) | providing(it.spec.requires)) for it in found]


def _ordered(members: list[Member], source: str | None) -> tuple[Member, ...]:
    """Put each service behind those that it requires; otherwise the order is the file's."""
    names = [it.name for it in members]
    for it in members:
        if missing := sorted(it.requires - {*names}):
            what = f'"{it.name}" requires the service "{missing[0]}", which is not there'
            where = source or f"services.{it.name}.requires"
            raise EsperError("E202", what, where=where, fix=did_you_mean(missing[0], names))
    ordered: list[Member] = []
    left = [*members]
    while left:
        done = {it.name for it in ordered}
        if (next_one := next((it for it in left if it.requires <= done), None)) is None:
            circle = ", ".join(it.name for it in left)
            raise EsperError("E202", "services require each other in a circle", where=source, why=circle)
        ordered.append(next_one)
        left.remove(next_one)
    return tuple(ordered)
