"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import BlueprintSpec, Layout

ESPER_API = "2.0"


@hookimpl
def esper_blueprints() -> Iterable[BlueprintSpec]:
    """Offer the blueprint."""
    yield BlueprintSpec(
        name="depthwise",
        summary="A depthwise separable convolution: filters each channel separately, then mixes them.",
        layouts=(Layout.NCHW,),
        factory="esper_blueprint_depthwise.module:Depthwise",
        config="esper_blueprint_depthwise.config:DepthwiseConfig",
    )
