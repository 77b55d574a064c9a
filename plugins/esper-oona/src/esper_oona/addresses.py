"""Addresses of buses: `sqlite:PATH`, `redis://HOST`, and whatever the installed plugins offer."""

import tomllib
from typing import Any
from urllib.parse import parse_qsl

from esper_core.leyline.errors import EsperError, did_you_mean
from esper_core.plugins.records import Registered
from esper_core.plugins.registry import Registry
from esper_core.plugins.resolve import build_config, resolve
from esper_oona.bus import Bus
from esper_oona.kinds import BusSpec


def open_bus(address: str, registry: Registry) -> Bus:
    """Open the bus at an address, such as ``sqlite:.esper/bus.sqlite?survives=power``.

    Args:
        address: the scheme finds the plugin; what follows ``?`` are options of the bus.
        registry: the loaded plugins (`esper_app.api.load_plugins().registry`).

    Raises:
        EsperError: E204 if no installed plugin has such an address, E201 or E202 if an option does not fit, E611 if the
            bus does not answer, E614 if it does not keep messages as the address asks.
    """
    found = find_bus(address, registry)
    scheme, _, rest = address.partition(":")
    place, _, query = rest.partition("?")
    if found.spec.config is None:
        raise EsperError("E160", f"{found.title} has no options, and so no `url`")
    options = {name: _value(text) for name, text in parse_qsl(query, keep_blank_values=True)}
    config = build_config(found, {**options, "url": f"{scheme}:{place}"}, path="", source=f"the address {scheme}:")
    bus: Bus = resolve(found)(config)
    return bus


def find_bus(address: str, registry: Registry) -> Registered:
    """Return the component that an address leads to; its descriptor is a `BusSpec`.

    Raises:
        EsperError: E204 if no installed plugin has such an address.
    """
    scheme = address.partition(":")[0]
    schemes: dict[str, Registered] = {}
    for registered in registry["bus"]:
        if isinstance(registered.spec, BusSpec):
            schemes |= dict.fromkeys(registered.spec.schemes, registered)
    if scheme not in schemes:
        # The rest of an address may hold a password.
        fix = did_you_mean(scheme, schemes) if schemes else "pip install esper-bus-sqlite"
        raise EsperError("E204", f'no installed plugin has buses at "{scheme}:"', fix=fix)
    return schemes[scheme]


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
