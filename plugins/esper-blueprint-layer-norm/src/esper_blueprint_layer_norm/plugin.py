"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import BlueprintSpec, Layout

ESPER_API = "2.0"


@hookimpl
def esper_blueprints() -> Iterable[BlueprintSpec]:
    """Offer the layer normalisation."""
    yield BlueprintSpec(
        name="layer-norm",
        summary="Adds a layer normalisation of the activation.",
        layouts=(Layout.BTD,),
        factory="esper_blueprint_layer_norm.module:LayerNormUpdate",
    )
