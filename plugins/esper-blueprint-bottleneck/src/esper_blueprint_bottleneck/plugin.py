"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import BlueprintSpec, Layout

ESPER_API = "2.0"


@hookimpl
def esper_blueprints() -> Iterable[BlueprintSpec]:
    """Offer the blueprint."""
    yield BlueprintSpec(
        name="bottleneck",
        summary="A 3x3 convolution between two 1x1 projections.",
        layouts=(Layout.NCHW,),
        factory="esper_blueprint_bottleneck.module:Bottleneck",
        config="esper_blueprint_bottleneck.config:BottleneckConfig",
    )
