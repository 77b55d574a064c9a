"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import BlueprintSpec, Capability, Layout

ESPER_API = "2.0"


@hookimpl
def esper_blueprints() -> Iterable[BlueprintSpec]:
    """Offer self-attention."""
    yield BlueprintSpec(
        name="attention",
        summary="Multi-head self-attention, causal if the site is causal.",
        layouts=(Layout.BTD,),
        capabilities=(Capability.PADDING_MASK,),
        factory="esper_blueprint_attention.module:Attention",
        config="esper_blueprint_attention.config:AttentionConfig",
    )
