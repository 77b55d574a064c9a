"""What this distribution offers. Every `esper` command imports this module, so it does not import torch."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import BlueprintSpec, Layout

#: The version of Esper's plugin API that this is written for.
ESPER_API = "2.0"


@hookimpl
def esper_blueprints() -> Iterable[BlueprintSpec]:
    """Offer the blueprint."""
    yield BlueprintSpec(
        name="example",
        summary="Coordinate attention: weights each channel by row and by column.",
        layouts=(Layout.NCHW,),
        factory="esper_blueprint_example.module:CoordinateAttention",
        config="esper_blueprint_example.config:CoordinateAttentionConfig",
    )
