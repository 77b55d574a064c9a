"""The default catalogue: the blueprints of this project that are installed. Imports no torch."""

from esper_core.leyline.specs import BlueprintSpec, Kind
from esper_core.plugins.known import FIRST_PARTY
from esper_core.plugins.registry import Registry


def bundled_blueprints(registry: Registry) -> tuple[BlueprintSpec, ...]:
    """Return the blueprints that a run or a user's loop offers where none are named, by name.

    Left out are those that cannot learn, and those that cannot run here.
    """
    specs = [
        registered.spec
        for registered in registry[Kind.BLUEPRINT]
        if registered.origin.distribution in FIRST_PARTY and isinstance(registered.spec, BlueprintSpec)
    ]
    return tuple(sorted((s for s in specs if s.learnable and s.unavailable is None), key=lambda spec: spec.name))
