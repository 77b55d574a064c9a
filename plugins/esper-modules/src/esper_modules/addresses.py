"""The address of a store as the section ``store`` of a run's configuration."""

from typing import Any

from esper_core.leyline.errors import EsperError
from esper_core.plugins.registry import Registry
from esper_oona.addresses import address_options, find_component
from esper_urza.kinds import StoreSpec


def store_section(address: str, registry: Registry) -> dict[str, Any]:
    """Return the section that an address such as ``local:.esper/store?max_bytes=1000000000`` stands for.

    Raises:
        EsperError: E204 if no selected plugin has such an address.
    """
    if all(kind.name != StoreSpec.kind for kind in registry.kinds):
        raise EsperError("E204", "no selected plugin knows stores", where="--store", fix="select kind-store as well")
    found = find_component(address, registry, StoreSpec, hint="pip install esper-store-local")
    named = [it for it in registry[StoreSpec.kind] if it.spec.name == found.spec.name]
    name = found.spec.name if len(named) == 1 else found.id
    return {StoreSpec.kind: {"name": name, **address_options(address)}}
