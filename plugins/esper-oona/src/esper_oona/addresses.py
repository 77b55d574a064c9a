"""Addresses of components: `sqlite:PATH`, `redis://HOST`, and whatever the installed plugins offer."""

import tomllib
from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any
from urllib.parse import parse_qsl

from attrs import Attribute

from esper_core.leyline.errors import EsperError, did_you_mean
from esper_core.leyline.specs import ComponentSpec
from esper_core.plugins.records import Registered
from esper_core.plugins.registry import Registry
from esper_core.plugins.resolve import build_config, resolve
from esper_oona.bus import Bus
from esper_oona.kinds import BusSpec

_HINT = "pip install esper-bus-sqlite"


def open_bus(address: str, registry: Registry) -> Bus:
    """Open the bus at an address, such as ``sqlite:.esper/bus.sqlite?survives=power``.

    Args:
        address: the scheme finds the plugin; what follows ``?`` are options of the bus.
        registry: the loaded plugins (`esper_app.api.load_plugins().registry`).

    Raises:
        EsperError: E204 if no installed plugin has such an address, E201 or E202 if an option does not fit, E611 if the
            bus does not answer, E614 if it does not keep messages as the address asks.
    """
    bus: Bus = open_component(address, registry, BusSpec, hint=_HINT)
    return bus


def open_shared_bus(address: str, registry: Registry, *, make: bool = True) -> Bus:
    """Open a bus that other processes use as well.

    Args:
        address, registry: as for `open_bus`.
        make: make the file of an embedded bus where it is not there.

    Raises:
        EsperError: what `open_bus` raises; E614 if no other process can see what is on the bus, E611 if it is not there
            and is not to be made.
    """
    found = find_bus(address, registry)
    assert isinstance(found.spec, BusSpec)
    found.spec.require_shared()
    if (place := found.spec.place) is not None and not make:
        config = build_config(found, address_options(address), path="", source=_source(address))
        file = (resolve_name(place) if isinstance(place, str) else place)(config)
        if not file.exists():
            fix = "what publishes makes it, such as: esper run TASK --bus sqlite:"
            raise EsperError("E611", "there is no bus yet", where=str(file), fix=fix)
    return open_bus(address, registry)


def require_shared(address: str, registry: Registry) -> None:
    """Refuse a bus of one process alone.

    Raises:
        EsperError: E614 if no other process can see what is on the bus, E204 if no plugin has such an address.
    """
    spec = find_bus(address, registry).spec
    assert isinstance(spec, BusSpec)
    spec.require_shared()


def embedded_address(scheme: str, example: str) -> "Callable[[Any, Attribute[str], str], None]":
    """Return a validator of attrs for ``scheme:PATH``, where the path may be left out. It raises ValueError."""

    def check(_: Any, attribute: "Attribute[str]", value: str) -> None:
        if not value.startswith(f"{scheme}:"):
            such = f"{scheme}:PATH, such as {scheme}:{example}, or {scheme}: alone"
            raise ValueError(f"'{attribute.name}' must be {such}: {value!r}")

    return check


def find_bus(address: str, registry: Registry) -> Registered:
    """Return the component that an address leads to; its descriptor is a `BusSpec`.

    Raises:
        EsperError: E204 if no installed plugin has such an address.
    """
    return find_component(address, registry, BusSpec, hint=_HINT)


def open_component(address: str, registry: Registry, spec: type[ComponentSpec], *, hint: str) -> Any:
    """Build the component that an address leads to, with the address and the options in it.

    Args:
        address: ``scheme:place?option=value``.
        registry: the loaded plugins.
        spec: the descriptor of its kind, which has ``schemes``; the options of its components have a ``url``.
        hint: what to do where no component of the kind is installed.

    Raises:
        EsperError: E204 if no installed plugin has such an address, E201 or E202 if an option does not fit, and what
            the component raises.
    """
    found = find_component(address, registry, spec, hint=hint)
    if found.spec.config is None:
        raise EsperError("E160", f"{found.title} has no options, and so no `url`")
    return resolve(found)(build_config(found, address_options(address), path="", source=_source(address)))


def _source(address: str) -> str:
    """How errors name an address, the rest of which may hold a password."""
    return f"the address {address.partition(':')[0]}:"


def address_options(address: str) -> dict[str, Any]:
    """Return the options of a component that an address holds, as plain data: ``url``, and what follows ``?``."""
    url, _, query = address.partition("?")
    return {name: _value(text) for name, text in parse_qsl(query, keep_blank_values=True)} | {"url": url}


def find_component(address: str, registry: Registry, spec: type[ComponentSpec], *, hint: str) -> Registered:
    """Return the component of a kind that an address leads to; the arguments are those of `open_component`.

    Raises:
        EsperError: E204 if no installed plugin has such an address.
    """
    scheme = address.partition(":")[0]
    schemes: dict[str, Registered] = {}
    for registered in registry[spec.kind]:
        schemes |= dict.fromkeys(getattr(registered.spec, "schemes", ()), registered)
    if scheme not in schemes:
        # The rest of an address may hold a password.
        fix = did_you_mean(scheme, schemes) if schemes else hint
        raise EsperError("E204", f'no installed plugin has a {spec.kind} at "{scheme}:"', fix=fix)
    return schemes[scheme]


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
