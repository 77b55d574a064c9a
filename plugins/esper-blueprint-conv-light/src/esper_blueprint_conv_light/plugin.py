"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import BlueprintSpec, Layout

ESPER_API = "2.0"


@hookimpl
def esper_blueprints() -> Iterable[BlueprintSpec]:
    """Offer the blueprint."""
    yield BlueprintSpec(
        name="conv-light",
        summary="One 3x3 convolution with normalisation and ReLU.",
        layouts=(Layout.NCHW,),
        factory="esper_blueprint_conv_light.module:ConvLight",
        config="esper_blueprint_conv_light.config:ConvLightConfig",
    )
