"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import BlueprintSpec, Layout

ESPER_API = "2.0"


@hookimpl
def esper_blueprints() -> Iterable[BlueprintSpec]:
    """Offer the blueprint."""
    yield BlueprintSpec(
        name="conv-heavy",
        summary="Two 3x3 convolutions with normalisation, wider in between.",
        layouts=(Layout.NCHW,),
        factory="esper_blueprint_conv_heavy.module:ConvHeavy",
        config="esper_blueprint_conv_heavy.config:ConvHeavyConfig",
    )
