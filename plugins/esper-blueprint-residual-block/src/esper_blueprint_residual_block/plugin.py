"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import BlueprintSpec, Capability, Layout

ESPER_API = "2.0"


@hookimpl
def esper_blueprints() -> Iterable[BlueprintSpec]:
    """Offer the residual block."""
    yield BlueprintSpec(
        name="residual-block",
        summary="Two convolutions as in a residual block, the last one zero at birth.",
        layouts=(Layout.NCHW,),
        capabilities=(Capability.SITE_MODULE,),
        factory="esper_blueprint_residual_block.module:ResidualBlock",
        config="esper_blueprint_residual_block.config:ResidualBlockConfig",
    )
