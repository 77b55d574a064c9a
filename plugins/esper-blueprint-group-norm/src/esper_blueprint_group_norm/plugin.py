"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import BlueprintSpec, Layout

ESPER_API = "2.0"


@hookimpl
def esper_blueprints() -> Iterable[BlueprintSpec]:
    """Offer the group normalisation."""
    yield BlueprintSpec(
        name="group-norm",
        summary="Adds a group normalisation of the activation.",
        layouts=(Layout.NCHW,),
        factory="esper_blueprint_group_norm.module:GroupNormUpdate",
        config="esper_blueprint_group_norm.config:GroupNormConfig",
    )
