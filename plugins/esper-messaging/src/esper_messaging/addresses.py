"""The address of a bus as the section ``bus`` of a run's configuration."""

from typing import Any
from urllib.parse import urlsplit

from esper_core.leyline.errors import EsperError
from esper_core.plugins.registry import Registry
from esper_oona.api import BusSpec, address_options, find_bus


def bus_section(address: str, registry: Registry) -> dict[str, Any]:
    """Return the section that an address such as ``redis://localhost?survives=server`` stands for.

    Raises:
        EsperError: E202 if the address holds a password, E204 if no selected plugin has such an address.
    """
    if all(kind.name != BusSpec.kind for kind in registry.kinds):
        raise EsperError("E204", "no selected plugin knows buses", where="--bus", fix="select kind-bus as well")
    found = find_bus(address, registry)
    if urlsplit(address).password is not None:
        why = "the configuration is written to the run's directory"
        fix = "leave it out, and give it as the bus takes it: for redis, in the environment's ESPER_REDIS_PASSWORD"
        raise EsperError("E202", "the address of a run's bus holds a password", where="--bus", why=why, fix=fix)
    named = [it for it in registry[BusSpec.kind] if it.spec.name == found.spec.name]
    name = found.spec.name if len(named) == 1 else found.id
    return {BusSpec.kind: {"name": name, **address_options(address)}}
