"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import BlueprintSpec, Capability, Layout

ESPER_API = "2.0"


@hookimpl
def esper_blueprints() -> Iterable[BlueprintSpec]:
    """Offer the transformer layer."""
    yield BlueprintSpec(
        name="block",
        summary="A whole transformer layer, attention and feed-forward, like the site's own.",
        layouts=(Layout.BTD,),
        capabilities=(Capability.PADDING_MASK, Capability.SITE_MODULE),
        factory="esper_blueprint_block.module:Block",
        config="esper_blueprint_block.config:BlockConfig",
    )
