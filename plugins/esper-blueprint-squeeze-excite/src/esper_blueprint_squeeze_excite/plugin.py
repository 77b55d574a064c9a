"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import BlueprintSpec, Layout

ESPER_API = "2.0"


@hookimpl
def esper_blueprints() -> Iterable[BlueprintSpec]:
    """Offer the blueprint."""
    yield BlueprintSpec(
        name="squeeze-excite",
        summary="Weights the channels by the content of the whole image.",
        layouts=(Layout.NCHW,),
        factory="esper_blueprint_squeeze_excite.module:SqueezeExcite",
        config="esper_blueprint_squeeze_excite.config:SqueezeExciteConfig",
    )
